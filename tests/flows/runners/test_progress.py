"""What a line of training progress shows."""

from flows.runners.progress import shown_metrics


def test_a_line_has_the_parts_of_the_loss_and_the_speed_and_leaves_out_what_is_missing() -> None:
    row = {
        "loss/total": 8.5241, "loss/dino_global": 1.0, "loss/dino_local": 3.8, "loss/ibot": 2.69, "loss/koleo": 0.94,
        "teacher/entropy": 4.6, "grad_norm/backbone": 1.234, "speed/images_per_s": 152.04, "speed/data_wait_share": 0.031,
        "speed/mfu": 0.413, "validation/score": 0.2514, "validation/views/effective_rank": 31.42,
    }  # fmt: skip
    assert shown_metrics(row) == (
        ", loss 8.524, dino 4.800, ibot 2.690, koleo 0.94, entropy 4.60, gradient 1.2, 152.0 images/s, 41% MFU, 3% waiting for data, "
        "validated 0.251, rank 31.4"
    )
    assert shown_metrics({"loss/total": 1.0, "loss/ibot": 0.0, "speed/images_per_s": 20.0}, item="clip") == ", loss 1.000, 20.0 clips/s"
    assert shown_metrics({}) == ""
