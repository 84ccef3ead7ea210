"""A recipe that a CPU trains in seconds."""

from pretrain.config import AugmentConfig, CheckpointConfig, HeadConfig, LossConfig, ModelConfig, OptimConfig, PretrainConfig, TrainConfig


def micro_recipe() -> PretrainConfig:
    """Every part of the recipe, small: stochastic depth, both heads, local crops, three checkpoints."""
    head = HeadConfig(num_prototypes=24, hidden_dim=16, bottleneck_dim=8)
    return PretrainConfig(
        model=ModelConfig(
            architecture="vit_tiny_patch16_224",
            img_size=32,
            patch_size=8,
            embed_dim=24,
            depth=2,
            num_heads=2,
            drop_path_rate=0.3,
        ),
        dino_head=head,
        ibot_head=head,
        augment=AugmentConfig(local_size=16, num_local=2),
        loss=LossConfig(teacher_temperature_warmup_steps=3),
        optim=OptimConfig(base_lr=1e-2, warmup_steps=2, freeze_last_layer_steps=1, teacher_momentum=0.9),
        train=TrainConfig(num_steps=9, batch_size=4, seed=5, log_every=1, num_loader_workers=0),
        checkpoint=CheckpointConfig(every=3),
    )
