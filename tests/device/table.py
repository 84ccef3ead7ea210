"""The findings as plain text, short enough for a terminal and for a report."""

from __future__ import annotations

from typing import Any

_LADDERS = ("vits14", "vitb14", "vitl14")


def table(results: dict[str, dict[str, Any]]) -> str:
    """Status of every check, then the figures that matter."""
    lines = ["", f"{'check':<24} {'status':<9} {'s':>6}  findings"]
    for name, result in results.items():
        values = result.get("values", {})
        try:
            words = _words(name, values)
        except (KeyError, TypeError, ValueError, IndexError):  # a check cut short noted only some
            words = ", ".join(values)
        lines.append(f"{name:<24} {result['status']:<9} {result.get('seconds', 0.0):>6.1f}  {words}"[:240])
    lines += _throughput(results) + _parts(results) + _waits(results) + _kernels(results)
    for name, result in results.items():
        if result["status"] in ("failed", "timeout"):
            lines += ["", f"{name} {result['status']}:", *str(result.get("error", "")).strip().splitlines()[-6:]]
    return "\n".join(lines)


def _words(name: str, v: dict[str, Any]) -> str:
    if name == "inventory":
        return (
            f"{v.get('card', 'CPU')}, {v['cores']} cores, bf16 {v['bf16_tflops']} TFLOP/s, fp32 {v['fp32_tflops']}, on device "
            f"{v['copy_on_device_gb_s']} GB/s, pinned {v.get('pinned_to_device_gb_s')} GB/s, shm {v['shm_gb']} GB, "
            f"timm {v['packages']['timm']}"
        )
    if name == "gpu_against_cpu":
        return "; ".join(f"{k}: loss {_e(x['first_loss_rel'])} grad {_e(x['gradient_rel'])}" for k, x in v.items() if "_against_" in k)
    if name == "cut_and_resumed":
        return "; ".join(f"{k}: loss {_e(x['loss_rel'])}{' bitwise' if x['bitwise'] else ''}" for k, x in v.items())
    if name == "recomputed_and_compiled":
        return "; ".join(f"{k}: {_e(x['loss_rel']) if isinstance(x, dict) else str(x)[:60]}" for k, x in v.items())
    if name == "non_finite":
        return f"skipped in a row {v['counts']}, stopped at {v['stopped_at']}, changed {v['changed']}"
    if name.startswith("ahead"):
        return ", ".join(f"{k} {x}" for k, x in v.items())
    if name.startswith("wrapped"):
        return "; ".join(f"{k}: {_e(x['loss_rel'])}" for k, x in v.items() if isinstance(x, dict))
    if name == "host_waits":
        return f"{v['waits_per_step']} waits a step{'' if v['counted'] else ' (not counted on a CPU)'}"
    if name == "kernels":
        return "; ".join(
            f"{k}: {x['ms_per_step_profiled']} ms, busy {x['busy_share']}, {x['launches_per_step']} launches" for k, x in v.items()
        )
    if name in _LADDERS:
        return f"best {v['best_images_per_s']} img/s, largest batch {v['largest_batch_without_checkpointing']}"
    if name == "made_frames":
        return (
            f"{v['frames']} frames of {v['patients']} patients, {v['mean_kb']} kB, {v['frames_per_s']} a second, labelled {v['labelled']}"
        )
    if name == "loader_alone":
        return f"img/s by workers {v['images_per_s_by_workers']}"
    if name == "crops_on_device":
        return (
            f"differs by {v['global_mean_difference']}, {v['local_mean_difference']} of 255, {v['crops_per_s']} img/s on the device with "
            f"{v['waits']} waits, {v['decoded_per_s']} decoded by {v['workers']} workers"
        )
    if name == "end_to_end":
        return (
            f"{v['images_per_s']} img/s, data wait {v['data_wait_share']}, batch {v['batch_size']}, {v['loader_workers']} workers, "
            f"checkpoint {v.get('checkpoint_s')} s, card {v.get('card_load')}"
        )
    if name == "learning":
        return f"k-NN macro-F1 {v['knn_macro_f1_by_step']}, ln K {v['ln_k']}, at the end {list(v['curve'].values())[-1]}"
    return ", ".join(v)


def _e(value: float) -> str:
    return f"{value:.1e}"


def _throughput(results: dict[str, dict[str, Any]]) -> list[str]:
    lines = ["", f"{'step alone':<26} {'img/s':>8} {'ms':>8} {'MFU':>6} {'of peak':>8} {'GB':>7} {'reserved':>9} {'warm-up s':>10}"]
    for name in _LADDERS:
        for label, row in results.get(name, {}).get("values", {}).get("rows", {}).items():
            if "images_per_s" not in row:
                lines.append(f"{name} {label:<19} out of memory")
                continue
            lines.append(
                f"{name} {label:<19} {row['images_per_s']:>8} {row['ms_per_step']:>8} {row['mfu_nominal']:>6.3f} "
                f"{row['mfu_measured'] or 0:>8.3f} {row['peak_gb'] or 0:>7} {row['reserved_gb'] or 0:>9} {row.get('warm_s', 0):>10}"
            )
    return lines


def _parts(results: dict[str, dict[str, Any]]) -> list[str]:
    lines = [""]
    for name, row in results.get("parts", {}).get("values", {}).items():
        lines.append(f"parts of {name}, ms (peak GB): " + ", ".join(f"{part} {x['ms']} ({x['peak_gb']})" for part, x in row.items()))
    return lines


def _waits(results: dict[str, dict[str, Any]]) -> list[str]:
    found = results.get("host_waits", {}).get("values", {}).get("lines", {})
    return ["", "waits for the GPU a step:", *(f"{count:>6} {line}" for line, count in list(found.items())[:20])] if found else []


def _kernels(results: dict[str, dict[str, Any]]) -> list[str]:
    lines = []
    for name, row in results.get("kernels", {}).get("values", {}).items():
        lines += ["", f"kernels of {name}: {row['share_by_kind']}"]
        lines += [f"{each['ms_per_step']:>8} ms {each['calls']:>5} x {each['kernel'][:90]}" for each in row["top"]]
    return lines
