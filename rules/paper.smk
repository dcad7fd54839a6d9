# What our experiments are of, so that the paper's numbers stand beside ours only where both are of the same. No rules.


def source_of_data(experiment):
    """What a data set is, whatever it is called: cub200, caltech101, folder or synthetic."""
    return config["datasets"][experiment["dataset"]]["source"]


def training_settings(experiment):
    """Settings of a training that the paper's numbers depend on, by the names of `published`."""
    return {
        "data set": source_of_data(experiment),
        "epochs": experiment["epochs"],
        "batch size": experiment["batch_size"],
        "learning rate": experiment["learning_rate"],
        "momentum": config["training"]["momentum"],
        "weight decay": config["training"]["weight_decay"],
        "shares": [config["split"][name] for name in ("train", "valid", "test")],
        "resized crop": AUGMENTATION["resized_crop"],
        "scale": AUGMENTATION["scale"],
        "rotation": AUGMENTATION["rotation"],
        "training crop": AUGMENTATION["crop"],
        "changed kernels": experiment["init"],
    }


FIELD_SETTINGS = {
    "split": config["erf"]["split"],
    "images": config["erf"]["images"] or "all",
    "target": SIZE_TEST["target"],
    **config["preprocess"],
}
SIZE_TEST_SETTINGS = {
    "size test": {
        "data set": source_of_data(SIZE_TEST),
        "weights": SIZE_TEST["weights"],
        **FIELD_SETTINGS,
    }
}
FINETUNE_SETTINGS = {
    "fine-tuning": {**training_settings(FINETUNE), "weights": FINETUNE["weights"]},
    "fields after fine-tuning": FIELD_SETTINGS,
}
MICROOBJECT_SETTINGS = {
    "micro-object": {
        **training_settings(MICROOBJECT),
        "square": MICROOBJECT["size"],
        "threshold": MICROOBJECT["threshold"],
        "images": MICROOBJECT["templates"] or "all",
    }
}


def described_weights(wildcards):
    """In words, what the weights of an experiment's maps are."""
    if wildcards.experiment == "size_test":
        return f"{SIZE_TEST['weights']} weights"
    return (
        f"fine-tuned on {FINETUNE['dataset']} from {FINETUNE['weights']} weights "
        f"(seed {FINETUNE['seeds'][0]})"
    )


def known_networks(experiment):
    """What each network really is: torchvision's name, or the user's file; its own targets make it another."""
    return {
        model: model_source(model)
        for model in experiment["models"]
        if not config["models"][model].get("targets")
    }


def published_weights_of(experiment):
    """Networks whose maps are of the very weights that torchvision publishes accuracies of."""
    models = experiment["models"] if experiment["weights"] == "imagenet" else []
    return {model: model_source(model) for model in models}
