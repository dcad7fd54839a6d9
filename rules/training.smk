# What all trainings follow, and what of it the paper's numbers depend on. No rules.
AUGMENTATION = {
    key: value
    for key, value in config["training"]["augmentation"].items()
    if key != "method"
}


def augmentation(wildcards):
    return {**AUGMENTATION, "crop": training_crop(wildcards.kernels)}


def recipe(experiment):
    """What a training run follows, apart from its seed."""
    common = config["training"]
    return {
        "epochs": experiment["epochs"],
        "learning_rate": experiment["learning_rate"],
        "momentum": common["momentum"],
        "weight_decay": common["weight_decay"],
        "precision": common["precision"],
    }


def training_cost(name, experiment, passes, held):
    """Resources of a training: `passes` of an epoch, counted as forward ones, and images `held` in memory."""
    return network_cost(
        name,
        Rate(5, 0.006, 5e-5),
        size=lambda w: height_and_width(training_crop(w.kernels)),
        work=lambda net: experiment["epochs"] * passes(net) * net.work,
        memory_mb=lambda net: net.memory_mb(
            DEVICE, batch=experiment["batch_size"], images=held(net)
        ),
        # the state of the epoch: weights, momenta, the best weights
        disk_mb=lambda net: 3 * net.weights_mb,
    )


def held_to_augment(images):
    """In images of the trained size: a CPU keeps `images` of 4:3 at four bytes a pixel."""
    if DEVICE != "cpu" or config["training"]["augmentation"]["method"] != "batched":
        return 0
    # 4/3 pixels of 4 bytes for each of the 12 bytes of a pixel in float32
    return images * 4 / 9 * (AUGMENTATION["resized_crop"] / AUGMENTATION["crop"]) ** 2


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


def known_networks(experiment):
    """What each network really is: torchvision's name, or the user's file; its own targets or transform make it another."""
    return {
        model: model_source(model)
        for model in experiment["models"]
        if not config["models"][model].keys() & {"targets", "preprocess"}
    }


FIELD_SETTINGS = {
    "split": config["erf"]["split"],
    "images": config["erf"]["images"] or "all",
    "target": config["size_test"]["target"],
    "definition": config["erf"]["definition"],
    "precision": config["erf"]["precision"],
    **config["preprocess"],
}
