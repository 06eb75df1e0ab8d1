"""Traces: what is saved comes back, a branch with its past and pictures too, and older files are still read."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import as_model, tiny_parts

from explorer import Request, limits, run, trace
from explorer.collecting import pictured
from explorer.headers import MAX_HEADER
from explorer.pictures import to_image
from explorer.records import FORMAT, Past, RequestError, Term, TraceError
from explorer.rows import FIELDS, OWN
from explorer.samplers import SAMPLERS


@pytest.fixture
def saved(tiny_model, tmp_path):
    path = tmp_path / "run.safetensors"
    trajectory = run(tiny_model, Request(prompt="cat, ünïcödé", steps=3, sampler="DPM++ 2M SDE", guidance=(1.0, 2.0, 3.0)))
    trace.save(trajectory, path)
    return trajectory, path


@pytest.mark.parametrize("name", SAMPLERS)
def test_round_trip(tiny_model, tmp_path, name):
    trajectory = run(tiny_model, Request(prompt="cat", steps=4, sampler=name, guidance=3.0))
    trace.save(trajectory, tmp_path / "run.safetensors")
    assert_equal(trace.load(tmp_path / "run.safetensors"), trajectory)


def assert_equal(loaded, trajectory):
    assert loaded.request == trajectory.request
    assert dict(loaded.capsule) == trajectory.capsule
    assert loaded.drawn == trajectory.drawn
    assert (loaded.past is None) == (trajectory.past is None)
    for one, other in zip(loaded.past or (), trajectory.past or (), strict=True):
        assert torch.equal(one.latents, other.latents)
        assert torch.equal(one.model_output, other.model_output)
    assert [*loaded.pictures] == [*trajectory.pictures]
    assert all(torch.equal(loaded.pictures[i], trajectory.pictures[i]) for i in trajectory.pictures)
    for ours, theirs in zip(loaded.steps, trajectory.steps, strict=True):
        assert (ours.index, ours.timestep, ours.alpha, ours.sigma) == (
            theirs.index, theirs.timestep, theirs.alpha, theirs.sigma)  # fmt: skip
        for field in FIELDS:
            a, b = getattr(ours, field), getattr(theirs, field)
            assert a is b is None or torch.equal(a, b)
        assert list(ours.forms) == list(theirs.forms)
        for form in ours.forms:
            for a, b in zip(ours.forms[form], theirs.forms[form], strict=True):
                assert a[:2] == b[:2]
                assert torch.equal(a.tensor, b.tensor)


def test_a_run_goes_on_from_a_loaded_trace(tiny_model, saved):
    trajectory, path = saved
    tail = run(tiny_model, trajectory.request, (trace.load(path), 2))
    assert torch.equal(tail.latents, trajectory.latents)


def test_a_tail_saves_too(tiny_model, saved, tmp_path):
    trajectory, _ = saved
    tail = run(tiny_model, trajectory.request, (trajectory, 1))
    trace.save(tail, tmp_path / "tail.safetensors")
    assert [step.index for step in trace.load(tmp_path / "tail.safetensors").steps] == [1, 2, 3]


def test_the_capsule_says_where_it_comes_from(saved):
    capsule = trace.load(saved[1]).capsule
    assert set(capsule["versions"]) == {"torch", "diffusers", "transformers", "python"}
    assert (capsule["model"], capsule["device"], capsule["dtype"]) == ("tiny", "cpu", "float32")
    assert len(capsule["preview"]["matrix"]) == 3
    assert capsule["scheduler_config"]["beta_schedule"] == "scaled_linear"


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_branch_comes_back_and_branches_again(tiny_model, tmp_path, name):
    request = Request(prompt="cat", steps=6, sampler=name, seed=3, eta=0.5 if name == "DDIM" else 0.0)
    whole = run(tiny_model, request)
    branch = run(tiny_model, request, (run(tiny_model, request, (whole, 2)), 4))
    assert len(branch.past) == (4 if SAMPLERS[name].multistep or name == "Heun" else 0)
    trace.save(branch, tmp_path / "branch.safetensors")
    loaded = trace.load(tmp_path / "branch.safetensors")
    assert_equal(loaded, branch)
    assert torch.equal(run(tiny_model, request, (loaded, 5)).latents, whole.latents)


@pytest.mark.parametrize("name", ["UniPC", "PNDM", "Heun"])
def test_a_stopped_run_comes_back_and_goes_on(tiny_model, tmp_path, name):
    whole = run(tiny_model, Request(prompt="cat", steps=6, sampler=name))
    stopped = replace(whole, steps=whole.steps[:4])
    trace.save(stopped, tmp_path / "stopped.safetensors")
    loaded = trace.load(tmp_path / "stopped.safetensors")
    assert_equal(loaded, stopped)
    assert torch.equal(run(tiny_model, whole.request, (loaded, 3)).latents, whole.latents)


def test_pictures_travel_with_a_run(tiny_model, saved, tmp_path):
    trajectory = pictured(tiny_model, saved[0], [1, 3])
    trace.save(trajectory, tmp_path / "run.safetensors")
    loaded = trace.load(tmp_path / "run.safetensors")
    assert_equal(loaded, trajectory)
    for index, latents in ((1, trajectory.steps[1].x0), (3, trajectory.latents)):
        assert loaded.pictures[index].shape == (3, 64, 64)
        theirs = to_image(tiny_model.decode(latents))
        assert to_image(loaded.pictures[index] / 255).tobytes() == theirs.tobytes()


def test_which_pictures(tiny_model, monkeypatch):
    whole = run(tiny_model, Request(steps=20))
    assert [*pictured(tiny_model, whole).pictures] == [4, 8, 12, 16, 20]
    assert [*pictured(tiny_model, whole, []).pictures] == []
    branch = run(tiny_model, whole.request, (whole, 18))
    assert [*pictured(tiny_model, branch).pictures] == [18, 19, 20]
    with pytest.raises(RequestError, match=r"picture is 3; it must be from 18 to 20."):
        pictured(tiny_model, branch, [3])
    with pytest.raises(RequestError, match=r"pictures is 17; it must be from 0 to 16."):
        pictured(tiny_model, whole, range(17))
    monkeypatch.setattr("explorer.limits.PICTURE", 32)
    assert pictured(tiny_model, branch).pictures[20].shape == (3, 32, 32)


def first_format(trajectory, path):
    """Writes a run as the first format did: an entry for each tensor, no past, no pictures."""
    tensors, rows = {}, []
    for i, step in enumerate(trajectory.steps):
        own = [name for name in FIELDS if getattr(step, name) is not None]
        state = {t.name: t.tensor for terms in step.forms.values() for t in terms if t.name not in OWN}
        tensors |= {f"{i:04d}.{name}": getattr(step, name).clone() for name in own}
        tensors |= {f"{i:04d}.state.{name}": tensor.clone() for name, tensor in state.items()}
        forms = {form: [[t.coefficient, t.name] for t in terms] for form, terms in step.forms.items()}
        plain = {name: getattr(step, name) for name in ("index", "timestep", "alpha", "sigma")}
        rows.append(plain | {"fields": own, "state": list(state), "forms": forms})
    record = {"request": asdict(trajectory.request), "capsule": dict(trajectory.capsule), "steps": rows}
    save_file(tensors, path, {"diffuscope": json.dumps(record)})


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_first_format_is_still_read(tiny_model, tmp_path, name):
    trajectory = run(tiny_model, Request(prompt="cat", steps=4, sampler=name, guidance=3.0))
    trajectory = replace(trajectory, capsule=trajectory.capsule | {"format": 1})
    first_format(trajectory, tmp_path / "old.safetensors")
    loaded = trace.load(tmp_path / "old.safetensors")
    assert_equal(loaded, trajectory)
    assert torch.equal(run(tiny_model, loaded.request, (loaded, 2)).latents, trajectory.latents)
    trace.save(loaded, tmp_path / "new.safetensors")
    assert_equal(
        trace.load(tmp_path / "new.safetensors"), replace(trajectory, capsule=trajectory.capsule | {"format": FORMAT})
    )


def test_other_tools_read_it(saved):
    trajectory, path = saved
    tensors = load_file(path)
    assert torch.equal(tensors["x0"], torch.cat([step.x0 for step in trajectory.steps[:-1]]))
    assert tensors["latents"].shape == (4, 4, 8, 8)
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["diffuscope"])["request"]["prompt"] == "cat, ünïcödé"


def test_the_longest_run_fits(tmp_path):
    """1999 evaluations, each with a guidance of its own, and prompts of the widest characters."""
    model = as_model(tiny_parts())
    request = Request(
        prompt="𝓪" * 5000, negative_prompt='"' * 5000, steps=4, sampler="Heun", guidance=(1 / 3,) * 7, width=32, height=32
    )
    short = run(model, request)
    state = replace(short.steps[1], timestep=1 / 3, sigma=float(short.steps[1].sigma))
    forms = {"d": (Term(1.0, "x_t", state.latents), Term(1e-22 / 3, "eps", state.eps), Term(1e-22 / 3, "x0", state.x0))}
    steps = tuple(replace(state, index=i, forms=forms) for i in range(1999))  # each leads to itself
    steps = (*steps, replace(short.steps[-1], index=1999, latents=state.latents))
    whole = replace(short, steps=steps, request=replace(short.request, steps=1000, guidance=(1 / 3,) * 1999))
    trace.save(whole, tmp_path / "long.safetensors")
    raw = (tmp_path / "long.safetensors").read_bytes()
    assert 600_000 < int.from_bytes(raw[:8], "little") < MAX_HEADER
    assert len(trace.load(tmp_path / "long.safetensors").steps) == 2000
    many = replace(whole, steps=tuple(replace(step, forms=dict.fromkeys("abcdefgh", step.terms)) for step in steps[:-1]))
    with pytest.raises(TraceError, match=r"too many steps and settings to be kept as a trace; take fewer steps."):
        trace.save(many, tmp_path / "longer.safetensors")


def test_a_run_belongs_to_the_model_that_made_it(tiny_model, saved):
    loaded = trace.load(saved[1])
    limits.check_own(loaded, tiny_model, "forked")
    assert not limits.foreign(loaded, tiny_model)
    other = as_model(tiny_parts(), name="owner/other")
    with pytest.raises(RequestError) as refusal:
        limits.check_own(loaded, other, "decoded")
    assert str(refusal.value) == (
        "This run was made by the model 'tiny', and here is 'owner/other': it can be played but not decoded."
    )
    namesake = replace(loaded, capsule={**loaded.capsule, "preview": {"matrix": [[0.0] * 4] * 3, "offset": [0.0] * 3}})
    with pytest.raises(
        RequestError, match=r"'tiny', and here is another model of that name: it can be played but not forked."
    ):
        limits.check_own(namesake, tiny_model, "forked")
    assert limits.foreign(loaded, as_model(tiny_parts("v_prediction")))


def test_a_run_that_is_not_finite_is_not_saved(saved, tmp_path):
    saved[0].steps[1].x0[0, 0, 0, 0] = float("nan")
    with pytest.raises(TraceError, match=r"The run's 'x0' of step 1 has numbers that are not finite"):
        trace.save(saved[0], tmp_path / "bad.safetensors")


def test_what_could_not_be_loaded_is_not_saved(tiny_model, saved, tmp_path):
    """And the file that was there before stays as it was."""
    request = Request(prompt="cat", steps=5, sampler="UniPC", seed=2)
    whole = run(tiny_model, request)
    branch = run(tiny_model, request, (whole, 3))
    nan = Past(torch.full((1, 4, 8, 8), float("nan")), branch.past[0].model_output)
    first = whole.steps[0]
    bad = (
        (
            replace(branch, past=(nan, *branch.past[1:])),
            "The trace's 'past.latents' of step 0 has numbers that are not finite",
        ),
        (
            replace(whole, steps=(replace(first, sigma=float("nan")), *whole.steps[1:])),
            "step 0 has a timestep, alpha or sigma",
        ),
        (
            replace(whole, steps=(replace(first, latents=first.latents + 1), *whole.steps[1:])),
            "step 0 is not one that a run",
        ),
        (replace(whole, steps=()), "The run has no steps; at least one is needed."),
        (replace(whole, steps=whole.steps[:1]), "The trace should have from 2 to 6 steps"),
        (replace(whole, steps=whole.steps[::2]), "The run has step 2 where 1 should be; its steps must be in a row."),
        (replace(whole, request=replace(whole.request, prompt="\ud800")), "The run's texts have half a character in them"),
        (replace(whole, capsule={**whole.capsule, "model": "a\nb"}), "does not say in plain words"),
        (replace(whole, drawn=10**6), "noises before it must be 0 to 8000"),
    )
    before = saved[1].read_bytes()
    for trajectory, sentence in bad:
        with pytest.raises(TraceError) as refusal:
            trace.save(trajectory, saved[1])
        assert sentence in str(refusal.value)
        assert saved[1].read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [saved[1].name]


def test_a_trace_of_the_first_format_that_begins_on_the_way(tiny_model, tmp_path):
    """What came before its first step was not kept, and stays unknown when it is saved again."""
    request = Request(prompt="cat", steps=5, sampler="UniPC")
    tail = run(tiny_model, request, (run(tiny_model, request), 2))
    first_format(replace(tail, capsule=tail.capsule | {"format": 1}), tmp_path / "old.safetensors")
    old = trace.load(tmp_path / "old.safetensors")
    assert old.past is None
    trace.save(old, tmp_path / "new.safetensors")
    assert trace.load(tmp_path / "new.safetensors").past is None


def test_traces_without_a_checksum_are_still_this_models(tiny_model, saved):
    loaded = trace.load(saved[1])
    assert loaded.capsule["weights"] == tiny_model.weights
    older = replace(loaded, capsule={key: value for key, value in loaded.capsule.items() if key != "weights"})
    assert not limits.foreign(older, tiny_model)
    other = replace(loaded, capsule={**loaded.capsule, "weights": "00000000"})
    assert limits.foreign(other, tiny_model)
    half = replace(other, capsule={**other.capsule, "dtype": "float16"})  # the same weights, rounded: not comparable
    assert not limits.foreign(half, tiny_model)


@pytest.mark.parametrize("path", [3, None, "a\0b"])
def test_what_is_no_path(saved, path):
    for act in (trace.load, lambda path: trace.save(saved[0], path)):
        with pytest.raises(TraceError, match=r"The trace's path must be a text without NUL, or a Path."):
            act(path)


def test_a_place_that_cannot_be_written(saved, tmp_path):
    with pytest.raises(TraceError) as refusal:
        trace.save(saved[0], tmp_path / "no" / "run.safetensors")
    assert str(tmp_path) not in str(refusal.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(TraceError, match=r"The trace can't be read: No such file or directory."):
        trace.load(tmp_path / "none.safetensors")
