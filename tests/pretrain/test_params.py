"""Reference values come from DINOv2's get_params_groups_with_decay (facebookresearch/dinov2, b8931f7)."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from pretrain.config import HeadConfig, PretrainConfig
from pretrain.model import Network
from pretrain.params import multipliers, param_groups, set_schedule
from pretrain.recipes import vits14
from pretrain.schedule import settings_at


@pytest.fixture(scope="module")
def config() -> PretrainConfig:
    plain = vits14()
    head = HeadConfig(num_prototypes=8, hidden_dim=8, bottleneck_dim=4)
    return dataclasses.replace(
        plain,
        model=dataclasses.replace(plain.model, architecture="vit_small_patch14_dinov2"),
        optim=dataclasses.replace(plain.optim, layer_decay=0.9),
        dino_head=head,
        ibot_head=head,
    )


@pytest.fixture(scope="module")
def network(config: PretrainConfig) -> Network:
    return Network(config)


def test_layer_decay_of_a_small_vit_gives_the_reference_multipliers(config: PretrainConfig) -> None:
    def of(name: str) -> tuple[object, float]:
        found = multipliers(name, depth=12, config=config.optim)
        return pytest.approx(found.lr, rel=1e-6), found.weight_decay

    for token in ("backbone.cls_token", "backbone.pos_embed", "mask_token", "backbone.reg_token"):
        assert (0.25418658, 1.0) == of(token)
    assert (0.05083732, 1.0) == of("backbone.patch_embed.proj.weight")
    assert (0.28242954, 1.0) == of("backbone.blocks.0.mlp.fc1.weight")
    assert (0.9, 1.0) == of("backbone.blocks.11.attn.qkv.weight")
    assert (1.0, 0.0) == of("backbone.norm.weight")
    assert (0.9, 0.0) == of("backbone.blocks.11.ls1.gamma")
    assert (0.9, 0.0) == of("backbone.blocks.11.attn.qkv.bias")
    assert (1.0, 1.0) == of("dino_head.last_layer.weight_g")


def test_a_small_vit_has_175_parameters_in_28_groups(config: PretrainConfig, network: Network) -> None:
    backbone = [name for name, _ in network.named_parameters() if "head" not in name]
    assert len(backbone) == 175
    assert len({multipliers(name, depth=12, config=config.optim) for name in backbone}) == 28


def test_every_parameter_is_in_exactly_one_group(config: PretrainConfig, network: Network) -> None:
    grouped = [id(parameter) for group in param_groups(network, depth=12, config=config.optim) for parameter in group["params"]]
    assert sorted(grouped) == sorted(map(id, network.parameters()))


def test_prototypes_get_no_learning_rate_while_frozen(config: PretrainConfig, network: Network) -> None:
    optimizer = torch.optim.AdamW(param_groups(network, depth=12, config=config.optim))
    set_schedule(optimizer.param_groups, settings_at(1000, config))
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    assert rates[id(network.dino_head.last_layer.weight_v)] == 0.0
    assert rates[id(network.dino_head.mlp[0].weight)] > 0.0
