"""Branches of branches: each goes on as if the runs before it had never stopped, for every row of SAMPLERS."""

import copy
from dataclasses import replace

import pytest
import torch
from test_start import noise
from tiny import as_model, tiny_parts

from explorer import Request, Trajectory, denoise, limits, load_model, run
from explorer.collecting import collect, pictured
from explorer.forecast import forecast
from explorer.records import Past, RequestError
from explorer.samplers import SAMPLERS
from explorer.snippet import snippet

DRAWING = [name for name, row in SAMPLERS.items() if row.stochastic != "no"]


def asked(name: str, **settings) -> Request:
    eta = 0.7 if name == "DDIM" else 0.0
    return Request(**{"prompt": "cat", "steps": 8, "sampler": name, "seed": 3, "eta": eta} | settings)


def assert_rest(branch: Trajectory, origin: Trajectory) -> None:
    """Every Step of the branch is the origin's, bit for bit."""
    first = branch.steps[0].index - origin.steps[0].index
    assert len(branch.steps) == len(origin.steps) - first
    for ours, theirs in zip(branch.steps, origin.steps[first:], strict=True):
        assert (ours.index, ours.timestep, ours.alpha, ours.sigma) == (
            theirs.index, theirs.timestep, theirs.alpha, theirs.sigma)  # fmt: skip
        assert torch.equal(ours.latents, theirs.latents)
        assert ours.z is theirs.z is None or torch.equal(ours.z, theirs.z)
        assert [(t.name, t.coefficient) for t in ours.terms] == [(t.name, t.coefficient) for t in theirs.terms]
        assert all(torch.equal(a.tensor, b.tensor) for a, b in zip(ours.terms, theirs.terms, strict=True))


@pytest.mark.parametrize("places", [(2, 4, 6), (1, 2, 3), (3, 3, 3), (0, 5, 7)], ids=str)
@pytest.mark.parametrize("name", SAMPLERS)
def test_unchanged_three_deep_is_bit_identical(tiny_model, name, places):
    request = asked(name)
    whole = branch = run(tiny_model, request)
    for k in places:
        branch = run(tiny_model, request, (branch, k))
        assert_rest(branch, whole)


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_segment_has_its_own_settings(tiny_model, name):
    """Prompt, guidance and seed change, then eta or noise_scale, then nothing twice: the last ones repeat the third."""
    second = asked(name, prompt="red star", guidance=7.0, seed=9)
    third = replace(second, eta=0.2) if name == "DDIM" else second
    third = replace(third, noise_scale=0.5) if name in DRAWING else replace(third, guidance=1.0)
    first = run(tiny_model, asked(name))
    b = run(tiny_model, second, (first, 2))
    c = run(tiny_model, third, (b, 4))
    d = run(tiny_model, third, (c, 5))
    assert torch.equal(c.steps[0].latents, b.steps[2].latents)
    assert not torch.equal(c.latents, b.latents)
    assert_rest(d, c)
    assert_rest(run(tiny_model, third, (d, 6)), c)


@pytest.mark.parametrize("name", DRAWING)
def test_the_generator_of_each_branch(tiny_model, name):
    """Its origin's seed: on from where that one stood. Another: from its second draw, as a run's own."""
    generator = torch.Generator().manual_seed(9)
    torch.randn(1, 4, 8, 8, generator=generator)
    fresh = [torch.randn(1, 4, 8, 8, generator=generator) for _ in range(4)]
    whole = run(tiny_model, asked(name))
    nine = run(tiny_model, asked(name, seed=9), (whole, 2))
    assert all(torch.equal(step.z, z) for step, z in zip(nine.steps, fresh, strict=False))
    again = run(tiny_model, asked(name, seed=9, prompt="star", noise_scale=0.3), (nine, 4))
    assert all(torch.equal(step.z, z) for step, z in zip(again.steps, fresh[2:], strict=False))
    back = run(tiny_model, asked(name), (nine, 4))  # the first run's seed, but not its origin's: anew
    assert torch.equal(back.steps[0].z, whole.steps[0].z)
    assert (whole.drawn, nine.drawn, again.drawn, back.drawn) == (0, 0, 2, 0)


@pytest.mark.parametrize("to", [name for name in DRAWING if name != "DDPM"])
def test_no_noise_comes_twice_across_grids(tiny_model, to):
    whole = run(tiny_model, asked("DDPM"))
    branch = run(tiny_model, asked(to), (whole, 3))
    before = [step.z for step in whole.steps[:3]]
    assert not any(torch.equal(step.z, z) for step in branch.steps if step.z is not None for z in before)
    assert branch.past == ()
    assert branch.drawn == 3


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_branch_from_another_grid_branches_exactly(tiny_model, name):
    origin = run(tiny_model, asked("Euler" if SAMPLERS[name].space == "VP" else "DDPM", steps=7, prompt="star"))
    branch = run(tiny_model, asked(name), (origin, 3))
    first = branch.steps[0].index
    assert first > 0
    once = run(tiny_model, asked(name), (branch, first + 1))
    assert_rest(once, branch)
    assert_rest(run(tiny_model, asked(name), (once, first + 2)), branch)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_run_from_a_picture_branches_exactly(tiny_model, name):
    picture = run(tiny_model, asked(name), (noise(1), noise(2), 2))
    once = run(tiny_model, asked(name), (picture, 4))
    assert_rest(once, picture)
    assert_rest(run(tiny_model, asked(name), (once, 5)), picture)


def test_drawn_guidance_keeps_its_places(tiny_model):
    """PNDM moves its repeated evaluation to where it begins, and the guidance of each timestep with it."""
    request = asked("PNDM", guidance=(9.0, 9.0, 9.0, 1.0, 2.0, 3.0, 1.0, 4.0, 5.0))
    picture = run(tiny_model, request, (noise(1), noise(2), 3))
    assert_rest(run(tiny_model, request, (run(tiny_model, request, (picture, 4)), 6)), picture)


@pytest.mark.parametrize("name", ["UniPC", "PNDM", "DPM++ 2M SDE"])
def test_a_branch_needs_its_origin_no_more(tiny_model, name):
    request = asked(name)
    whole = run(tiny_model, request)
    final = whole.latents.clone()
    branch = run(tiny_model, request, (whole, 4))
    for step in whole.steps[:-1]:
        step.latents.fill_(1e6)
        step.model_output.fill_(1e6)
    assert torch.equal(run(tiny_model, request, (branch, 6)).latents, final)


def test_collected_from_a_stream_it_is_the_same(tiny_model):
    request = asked("UniPC")
    whole = run(tiny_model, request)
    streamed = collect(tiny_model, request, list(denoise(tiny_model, request, (whole, 3))), (whole, 3))
    assert_rest(run(tiny_model, request, (streamed, 5)), whole)
    assert len(streamed.past) == 3


@pytest.mark.parametrize("name", SAMPLERS)
def test_only_samplers_that_remember_keep_a_past(tiny_model, name):
    request = asked(name)
    branch = run(tiny_model, request, (run(tiny_model, request), 4))
    assert len(branch.past) == (4 if SAMPLERS[name].multistep or name == "Heun" else 0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_stopped_run_goes_on_from_its_last_step(tiny_model, name):
    request = asked(name)
    whole = run(tiny_model, request)
    stopped = replace(whole, steps=whole.steps[:5])
    assert_rest(run(tiny_model, request, (stopped, 4)), whole)
    with pytest.raises(RequestError, match=r"start k is 5; it must be from 0 to 4."):
        denoise(tiny_model, request, (stopped, 5))


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_tail_whose_past_is_gone_still_goes_on(tiny_model, name):
    """Traces of the first format kept no past: without memory, a multistep sampler goes on all the same."""
    request = asked(name)
    whole = run(tiny_model, request)
    tail = replace(whole, steps=whole.steps[3:], past=None)
    branch = run(tiny_model, request, (tail, 5))
    told = forecast(tiny_model, request, (tail, 5))
    assert (told.first, told.last) == (branch.steps[0].index, branch.steps[-1].index)
    assert told.exact == (not SAMPLERS[name].multistep and name not in ("Heun", *DRAWING))
    lost = "Not replayed, since this trace does not keep what came before step 3: the state of step 5 "
    assert told.sentence.startswith(lost) == (not told.exact)
    assert ("without memory" in told.sentence) == SAMPLERS[name].multistep
    assert ("with noises that may have come before" in told.sentence) == (name in DRAWING)
    assert "x0_1" not in {term.name for term in branch.steps[0].terms}
    assert torch.equal(branch.steps[0].latents, whole.steps[5].latents)
    assert branch.steps[0].timestep == whole.steps[5].timestep
    if told.exact:
        assert torch.equal(branch.latents, whole.latents)
    assert_rest(run(tiny_model, request, (branch, branch.steps[0].index + 2)), branch)  # that one's past is known
    if name in DRAWING and not SAMPLERS[name].multistep:  # other noise is all that is wanted: nothing is lost
        assert forecast(tiny_model, replace(request, seed=4), (tail, 5)).exact


def test_a_past_that_cannot_be(tiny_model):
    request = asked("UniPC")
    whole = run(tiny_model, request)
    branch = run(tiny_model, request, (whole, 2))
    longer = replace(branch, past=branch.past * 2)  # before the first evaluation: nothing to replay
    assert torch.equal(run(tiny_model, request, (longer, 4)).steps[0].latents, whole.steps[4].latents)
    bad = Past(branch.past[0].latents[:, :2], branch.past[0].model_output)
    with pytest.raises(RequestError, match=r"start latents has shape \(1, 2, 8, 8\)"):
        run(tiny_model, request, (replace(branch, past=(bad, *branch.past[1:])), 4))


def test_runs_that_are_none(tiny_model):
    whole = run(tiny_model, asked("DDIM"))
    for steps, sentence in (
        ((), "start has no steps; at least one is needed."),
        (whole.steps[:2] + whole.steps[3:], "start has step 3 where 2 should be; its steps must be in a row."),
    ):
        for act in (denoise, forecast):
            with pytest.raises(RequestError) as refusal:
                act(tiny_model, asked("DDIM"), (replace(whole, steps=steps), 3))
            assert str(refusal.value) == sentence
        for act in (
            lambda run: pictured(tiny_model, run), lambda run: snippet(run, tiny_model),
            lambda run: limits.check_own(run, tiny_model, "decoded"),
        ):  # fmt: skip
            with pytest.raises(RequestError) as refusal:
                act(replace(whole, steps=steps))
            assert str(refusal.value) == sentence.replace("start", "run")


def test_a_seed_from_two_runs_ago_gives_its_noises_again(tiny_model):
    """The claim is of a chain of one seed; the file's first words say so."""
    one = run(tiny_model, asked("DDPM", seed=1))
    two = run(tiny_model, asked("DDPM", seed=2), (one, 3))
    back = run(tiny_model, asked("DDPM", seed=1), (two, 4))
    assert torch.equal(back.steps[0].z, one.steps[0].z)


def test_too_many_noises(tiny_model):
    whole = replace(run(tiny_model, asked("DDPM")), drawn=7998)
    with pytest.raises(RequestError, match=r"start comes after 8001 noises of seed 3; the limit is 8000: change the seed."):
        denoise(tiny_model, asked("DDPM"), (whole, 3))
    assert run(tiny_model, asked("DDPM", seed=4), (whole, 3)).drawn == 0


def test_another_models_past_is_not_replayed(tiny_model):
    request = asked("DPM++ 2M")
    foreign = run(as_model(tiny_parts("v_prediction")), request)
    branch = run(tiny_model, request, (run(as_model(tiny_parts("v_prediction")), request, (foreign, 2)), 4))
    assert branch.past == ()
    assert "x0_1" not in {term.name for term in branch.steps[0].terms}


def test_other_weights_of_the_same_name_and_config_are_not_replayed(tiny_model):
    request, parts = asked("DPM++ 2M"), tiny_parts()
    parts["unet"] = copy.deepcopy(parts["unet"])
    parts["unet"].conv_out.weight.data += 0.01
    trained = as_model(parts)
    assert trained.weights != tiny_model.weights == as_model(tiny_parts()).weights
    origin = run(trained, request)
    assert run(tiny_model, request, (origin, 3)).past == ()
    told = forecast(tiny_model, request, (origin, 3))
    assert not told.exact
    assert told.sentence.startswith("Not replayed, since another model made this run: the state of step 3 ")
    assert len(run(trained, request, (origin, 3)).past) == 3
    with pytest.raises(RequestError, match=r"here is another model of that name: it can be played but not forked."):
        limits.check_own(origin, tiny_model, "forked")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("name", SAMPLERS)
def test_unchanged_three_deep_is_bit_identical_on_cuda(name):
    model, request = load_model(device="cuda"), asked(name)
    whole = branch = run(model, request)
    for k in (2, 4, 6):
        branch = run(model, request, (branch, k))
        assert_rest(branch, whole)
