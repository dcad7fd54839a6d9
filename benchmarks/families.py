"""Theoretical fields of many families of networks, with random weights: one row per map.

    python benchmarks/families.py [timm:NAME | torchvision:NAME ...]

By default every classifier of torchvision and the networks of timm below. Maps are the last one of
each stride of 4 px and more, else the last block.
"""

import sys
import time
from pathlib import Path

import timm
import torch
import torchvision
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from deadpixel import receptive_field

TIMM = """
beit_base_patch16_224 cait_xxs24_224 caformer_s18 coat_tiny coatnet_0_rw_224 convformer_s18
convit_tiny convmixer_768_32 convnext_tiny crossvit_tiny_240 cs3darknet_s cspresnet50 davit_tiny
deit_tiny_distilled_patch16_224 densenet121 dla34 dpn68 ecaresnet26t edgenext_xx_small
efficientformer_l1 efficientformerv2_s0 efficientnetv2_s efficientvit_b0 efficientvit_m0
ese_vovnet19b_dw fasternet_t0 fastvit_t8 fbnetc_100 focalnet_tiny_srf gcvit_xxtiny gernet_s
ghostnet_100 gmlp_s16_224 hgnet_tiny hiera_tiny_224 hrnet_w18_small inception_next_tiny
lambda_resnet26t lcnet_050 levit_128s mambaout_femto maxvit_tiny_rw_224 mixer_s32_224
mobilenetv4_conv_small mobilenetv4_hybrid_medium mobileone_s0 mobilevit_xxs mobilevitv2_050
mvitv2_tiny nest_tiny nextvit_small nf_resnet26 nfnet_l0 pit_ti_224 poolformer_s12 pvt_v2_b0
rdnet_tiny regnetx_002 repvit_m0_9 res2net50_26w_4s resmlp_12_224 resnest14d rexnet_100
samvit_base_patch16 selecsls42b semnasnet_075 sequencer2d_s shvit_s1 skresnet18 starnet_s1
swiftformer_xs swin_tiny_patch4_window7_224 swinv2_cr_tiny_ns_224 tiny_vit_5m_224
tnt_s_patch16_224 tresnet_m twins_pcpvt_small twins_svt_small visformer_tiny vit_small_patch16_224
vitamin_small_224 volo_d1_224 xception41 xcit_tiny_12_p16_224
"""
LEAST_STRIDE = 4


def build(name: str) -> tuple[nn.Module, tuple[int, int]]:
    """A network with random weights, and the size of its images."""
    source, _, model = name.partition(":")
    if source == "timm":
        network = timm.create_model(model, pretrained=False)
        return network.eval(), tuple(network.pretrained_cfg["input_size"][1:])
    network = torchvision.models.get_model(model, weights=None)
    return network.eval(), (299, 299) if model == "inception_v3" else (224, 224)


def last_maps(model: nn.Module, size: tuple[int, int]) -> list[str]:
    """Names of the modules that yield the last map of each stride, channels first or last."""
    last: dict[int, str] = {}

    def note(name: str, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim in (3, 4):
            _, *shape = output.shape
            for height, width in (shape[-2:], shape[:2]) if output.ndim == 4 else ():
                if size[0] * width == size[1] * height and size[0] >= LEAST_STRIDE * height > 0:
                    last[round(size[0] / height)] = name
                    return
            if output.ndim == 3:
                last[0] = name  # tokens

    hooks = [
        module.register_forward_hook(lambda _m, _a, output, name=name: note(name, output))
        for name, module in model.named_modules()
        if name
    ]
    with torch.no_grad():
        model(torch.zeros(1, 3, *size))
    for hook in hooks:
        hook.remove()
    return [last[stride] for stride in sorted(last)]


def main() -> None:
    names = sys.argv[1:] or [
        *(f"torchvision:{n}" for n in torchvision.models.list_models(module=torchvision.models)),
        *(f"timm:{n}" for n in TIMM.split()),
    ]
    print("| network | module | size (px) | stride (px) | field | seconds |")
    print("|---|---|---|---|---|---|")
    for name in names:
        model, size = build(name)
        targets = last_maps(model, size)
        start = time.perf_counter()
        found = receptive_field.fields(model, targets, size)
        seconds = time.perf_counter() - start
        for target in targets:
            field = found[target]
            word = " ".join([field.kind, field.reason.split(";")[0]]).strip()
            print(
                f"| {name} | {target} | {field.size[0]:.0f} | {field.stride[0]:.2f} | {word} |"
                f" {seconds:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
