"""The GPU benchmark at small size: on the CPU in every run, on a GPU where there is one."""

import json
from dataclasses import replace

import gpu
import pytest
import torch
from worlds import quick

SMALL = replace(gpu.SMALL, frames=60, steps=6)


@pytest.fixture(scope="module")
def result():
    return gpu.measure(torch.device("cpu"), quick(prior=False), SMALL)


def test_the_cpu_agrees_with_itself_and_bf16_is_close(result):
    assert result["draws apart"] == 0
    assert gpu.losses_apart(result) == {"completion": 0, "refinement": 0}
    assert gpu.agrees(result)
    errors = {(found["stage"], found["type"]): found["error"] for found in result["sampling"]}
    assert errors["refinement", "fp32"] == 0
    assert 0 < errors["refinement", "bf16"] < 0.1


def test_work_is_counted_for_both_stages(result):
    for stage in gpu.STAGES:
        step = result["training"][stage]
        assert step["seconds"] > 0
        assert step["flops"] > 1e6
        assert step["bytes"] > 1e6
    fp32, bf16 = result["sampling"][:2], result["sampling"][2:]
    for exact, fast in zip(fp32, bf16, strict=True):
        assert exact["flops"] == fast["flops"]
        assert exact["maps per second"] > exact["whole maps per second"]


def test_flops_of_a_product_and_bytes_of_a_copy_are_exact():
    with gpu.Traffic() as traffic, gpu.FlopCounterMode(display=False) as flops:
        torch.ones(3, 4) @ torch.ones(4, 5)
    assert flops.get_total_flops() == 2 * 3 * 4 * 5
    assert traffic.bytes == 4 * (2 * 12 + 2 * 20 + 15)  # ones are written, then read


def test_the_table_names_every_stage_and_what_it_reaches(result):
    text = gpu.lines(json.loads(json.dumps(result)))
    for stage in gpu.STAGES:
        assert any(line.startswith(f"| training {stage}, steps | fp32 |") for line in text)
        assert any(line.startswith(f"| sampling {stage}, maps | bf16 |") for line in text)
    assert any("TFLOP/s, memory" in line for line in text)


def test_a_device_that_disagrees_is_told(result):
    assert not gpu.agrees({**result, "draws apart": 0.011})
    curves = {stage: [(6, 1.2 * curve[-1][1])] for stage, curve in result["losses"]["cpu"].items()}
    assert not gpu.agrees({**result, "losses": {**result["losses"], "device": curves}})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
def test_a_gpu_agrees_with_the_cpu():
    assert gpu.agrees(gpu.measure(torch.device("cuda"), quick(prior=False), SMALL))
