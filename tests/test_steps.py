"""What a Step says is true: its invariant, its x0, its terms, the counts; and each coefficient, probed."""

import copy
from itertools import pairwise

import pytest
import torch
from references import KARRAS, PAIRS, SCHEDULERS
from tiny import as_model, tiny_parts

from explorer import Request, run
from explorer.diffusion import to_x0_eps
from explorer.samplers import SAMPLERS
from explorer.schedule import schedule
from explorer.transitions import Now

GRIDS = {
    "model's own": {},
    "leading": {"spacing": "leading"},
    "linspace": {"spacing": "linspace"},
    "trailing": {"spacing": "trailing"},
    "Karras": {"karras": True},
}


def cases():
    for name, prediction_type in PAIRS:
        row = SAMPLERS[name]
        for grid, settings in GRIDS.items():
            if ("karras" not in settings or row.karras) and ("spacing" not in settings or row.spacing):
                yield pytest.param(name, prediction_type, settings, id=f"{name}-{prediction_type}-{grid}")


def within(a: torch.Tensor, b: torch.Tensor, summands) -> bool:
    """The issue's tolerance: 1e-5 x max(1, largest |coefficient * tensor|)."""
    scale = max([1.0, *(abs(c) * float(t.abs().max()) for c, t in summands)])
    return float((a - b).abs().max()) <= 1e-5 * scale


@pytest.mark.parametrize(("name", "prediction_type", "settings"), [*cases()])
@pytest.mark.parametrize("steps", [2, 9])
def test_states_and_transitions(name, prediction_type, settings, steps):
    states_and_transitions(as_model(tiny_parts(prediction_type)), name, steps, settings)


@pytest.mark.parametrize(("name", "prediction_type"), [pair for pair in PAIRS if pair[1] != "epsilon"])
def test_states_and_transitions_of_zero_snr_models(name, prediction_type):
    parts = tiny_parts(prediction_type, rescale_betas_zero_snr=True, timestep_spacing="trailing")
    states_and_transitions(as_model(parts), name, 5, {})


def states_and_transitions(model, name, steps, settings):
    row = SAMPLERS[name]
    eta = 0.6 if name == "DDIM" else 0.0
    trajectory = run(model, Request(prompt="cat", steps=steps, sampler=name, seed=2, eta=eta, **settings))
    assert len(trajectory.steps) == row.evaluations(steps) + 1
    for i, (step, following) in enumerate(pairwise(trajectory.steps)):
        assert step.index == i
        assert within(step.alpha * step.x0 + step.sigma * step.eps, step.latents,
                      [(step.alpha, step.x0), (step.sigma, step.eps)])  # fmt: skip
        assert step.forms
        for form, terms in step.forms.items():
            total = sum(term.coefficient * term.tensor for term in terms)
            assert within(total, following.latents, [(t.coefficient, t.tensor) for t in terms]), (i, form)
            assert len({term.name for term in terms}) == len(terms)
        if row.space == "VE":
            assert step.alpha == 1
        else:
            assert step.alpha**2 + step.sigma**2 == pytest.approx(1, abs=1e-6)
    last = trajectory.steps[-1]
    assert last.timestep == 0
    assert last.terms == ()
    names = ("model_output", "eps_uncond", "eps_cond", "eps", "x0", "z")
    assert [getattr(last, field) for field in names] == [None] * len(names)


@pytest.mark.parametrize(("name", "prediction_type"), [pair for pair in PAIRS if pair[0] not in ("PNDM", "LCM")])
def test_x0_is_the_schedulers_own(name, prediction_type, monkeypatch):
    own, scheduler = [], SCHEDULERS[name][0]
    method = "step" if hasattr(scheduler, "_sigma_to_alpha_sigma_t") is False else "convert_model_output"
    original = getattr(scheduler, method)

    def spy(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        own.append((result[1] if isinstance(result, tuple) else result).clone())
        return result

    monkeypatch.setattr(scheduler, method, spy)
    karras = True if name in KARRAS else None
    trajectory = run(as_model(tiny_parts(prediction_type)), Request(prompt="cat", steps=6, sampler=name, karras=karras))
    assert len(own) == len(trajectory.steps) - 1
    for x0, step in zip(own, trajectory.steps, strict=False):
        assert within(step.x0, x0, [(1.0, x0), (1 / step.alpha, step.latents)])


def test_lcm_x0_is_before_the_boundary_condition():
    trajectory = run(as_model(tiny_parts()), Request(prompt="cat", steps=4, sampler="LCM", guidance=1.0))
    for step in trajectory.steps[:-1]:
        x0 = (step.latents - step.sigma * step.model_output) / step.alpha
        assert within(step.x0, x0, [(1 / step.alpha, step.latents)])


def test_the_two_forms_of_ddpm():
    model = as_model(tiny_parts())
    trajectory = run(model, Request(prompt="cat", steps=10, sampler="DDPM"))
    alphas_cumprod = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0).double()
    for step, following in pairwise(trajectory.steps):
        assert set(step.forms) == {"x0", "eps"}
        alpha_bar = alphas_cumprod[int(step.timestep)]
        alpha_bar_next = alphas_cumprod[int(following.timestep)] if following.timestep else torch.tensor(1.0)
        beta = 1 - alpha_bar / alpha_bar_next  # of the strided grid; arXiv:2006.11239, Eq. 7 and 11
        s1, s2 = (alpha_bar / alpha_bar_next) ** -0.5, beta / (1 - alpha_bar) ** 0.5
        s3 = ((1 - alpha_bar_next) / (1 - alpha_bar) * beta) ** 0.5
        got = {term.name: term.coefficient for term in step.forms["eps"]}
        assert got["x_t"] == pytest.approx(float(s1), rel=1e-4)
        assert got["eps"] == pytest.approx(float(-s1 * s2), rel=1e-4)
        assert got["z"] == pytest.approx(float(s3), rel=1e-3, abs=1e-9)


def test_ddpm_at_alpha_zero_has_only_the_x0_form():
    parts = tiny_parts("v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing")
    first, second, *_ = run(as_model(parts), Request(prompt="cat", steps=5, sampler="DDPM")).steps
    assert first.alpha == 0
    assert torch.equal(first.eps, first.latents)  # from v: eps = sigma * x_t there
    assert set(first.forms) == {"x0"}
    assert set(second.forms) == {"x0", "eps"}


@pytest.mark.parametrize(
    ("name", "counts"),
    [("DDIM", {1: 1, 2: 2, 7: 7}), ("PNDM", {1: 1, 2: 3, 7: 8}), ("Heun", {1: 1, 2: 3, 7: 13})],
)
def test_evaluations(counted, name, counts):
    for steps, evaluations in counts.items():
        counted.rows.clear()
        trajectory = run(counted, Request(prompt="cat", steps=steps, sampler=name))
        assert len(counted.rows) == evaluations == SAMPLERS[name].evaluations(steps)
        assert len(trajectory.steps) == evaluations + 1
        assert set(counted.rows) == {2}


def test_guidance_of_exactly_one_is_one_conditional_row(counted):
    steps = run(counted, Request(prompt="cat", negative_prompt="red", guidance=(1.0, 3.0, 1.0), steps=3)).steps
    assert counted.rows == [1, 2, 1]
    assert [step.eps_uncond is None for step in steps] == [True, False, True, True]
    assert torch.equal(steps[0].eps, steps[0].eps_cond)


def test_guidance_is_the_combination_of_both_predictions(tiny_model):
    for guidance in (-5.0, 0.0, 0.5, 30.0):
        step = run(tiny_model, Request(prompt="cat", guidance=guidance, steps=1)).steps[0]
        expected = step.eps_uncond + guidance * (step.eps_cond - step.eps_uncond)
        assert torch.equal(step.eps, expected)
    assert not torch.equal(step.eps_cond, step.eps_uncond)


# --- probing: every tensor that the scheduler's step is linear in is set to 0, one of them to 1


def probe(before, name, now, which, monkeypatch):
    """The coefficient with which one input of the scheduler's step enters the next latents."""
    s = copy.deepcopy(before)

    def one(key):
        return torch.full((1, 1, 1, 1), 1.0 if key == which else 0.0)

    for module in ("ddpm", "ddim", "euler_ancestral_discrete", "dpmsolver_multistep", "lcm"):
        monkeypatch.setattr(f"diffusers.schedulers.scheduling_{module}.randn_tensor", lambda *a, **k: one("z"))
    if name == "PNDM":
        kind = "eps" if s.config.prediction_type == "epsilon" else "v"
        s.ets = [one(f"{kind}_{len(s.ets) - i}") for i in range(len(s.ets))]
        s.cur_sample = None if s.cur_sample is None else one("x_1")
    if name == "Heun" and s.dt is not None:
        s.sample, s.prev_derivative = one("x_1"), one("d_1")
    if hasattr(s, "model_outputs"):
        s.model_outputs = [None if m is None else one("x0_1") for m in s.model_outputs]
    if name == "UniPC":
        s.disable_corrector = list(range(1000))  # the corrected state then is what goes in as sample
    extra = {"eta": now.eta} if name == "DDIM" else {}
    return float(s.step(one("output"), now.timestep, one("x_t"), **extra, return_dict=False)[0])


@pytest.mark.parametrize(("name", "prediction_type", "settings"), [*cases()])
def test_coefficients_by_probing(name, prediction_type, settings, monkeypatch):
    row, eta = SAMPLERS[name], 0.6 if name == "DDIM" else 0.0
    config = dict(tiny_parts(prediction_type)["scheduler"].config)
    plan = schedule(Request(sampler=name, steps=7, **settings), config)
    generator = torch.Generator().manual_seed(0)

    def random():
        return torch.randn(1, 1, 1, 1, generator=generator)

    latents, seen = random() * plan.scheduler.init_noise_sigma, set()
    for index, timestep in enumerate(plan.timesteps):
        (alpha, sigma), output = plan.levels[index], random()
        x0, eps = to_x0_eps(output, latents, alpha, sigma, prediction_type)
        plan.scheduler.scale_model_input(latents, timestep)
        before = copy.deepcopy(plan.scheduler)
        z = random() if row.draws(plan.scheduler, index, timestep, eta) else None
        now = Now(index, timestep, alpha, sigma, latents, x0, eps, z, eta)
        extra = {"eta": eta} if name == "DDIM" else {}

        def step(output=output, timestep=timestep, latents=latents, extra=extra):
            return plan.scheduler.step(output, timestep, latents, **extra, return_dict=False)

        latents, forms = row.transition(plan.scheduler, now, step)
        unit, zero = torch.ones(1), torch.zeros(1)
        inputs = {"x_t": (zero, unit), "output": (unit, zero)}
        x0_of = {key: to_x0_eps(*pair, alpha, sigma, prediction_type) for key, pair in inputs.items()}
        for terms in forms.values():
            got = {{"x_c": "x_t", "d": "eps"}.get(n, n): c for c, n, _ in terms}
            seen |= {n for _, n, _ in terms}
            for basis in {"x_t", "output", *got} - {"x0", "eps"}:
                expected = probe(before, name, now, basis, monkeypatch)
                parts = [got.get(basis, 0.0)]
                if basis in x0_of:
                    parts += [got.get(k, 0.0) * float(v) for k, v in zip(("x0", "eps"), x0_of[basis], strict=True)]
                assert sum(parts) == pytest.approx(expected, rel=1e-5, abs=1e-5 * max(1, *map(abs, parts))), (index, basis)
    assert seen >= {"DDPM": {"x0", "eps", "x_t", "z"}, "PNDM": {"x_1", "eps"}, "Heun": {"x_1", "d_1", "d"},
                    "DPM++ 2M": {"x0_1"}, "UniPC": {"x_c", "x0_1"}}.get(name, set())  # fmt: skip


def test_noise_scale(tiny_model):
    def final(sampler, noise_scale, seed=0, steps=12, **settings):
        request = Request(prompt="cat", sampler=sampler, steps=steps, noise_scale=noise_scale, seed=seed, **settings)
        return run(tiny_model, request)

    for sampler in ("DDPM", "Euler a", "DPM++ 2M SDE", "LCM"):
        half = final(sampler, 0.5)
        for step, following in pairwise(half.steps):
            for terms in step.forms.values():
                total = sum(t.coefficient * t.tensor for t in terms)
                assert within(total, following.latents, [(t.coefficient, t.tensor) for t in terms])
        full = final(sampler, 1.0)
        assert torch.equal(half.steps[0].z, full.steps[0].z)  # the draws stay those of diffusers
        drawn, kept = (
            next(t.coefficient for t in trajectory.steps[0].terms if t.name == "z") for trajectory in (full, half)
        )
        assert kept == pytest.approx(drawn / 2)
    still = final("DDPM", 0.0)
    assert all(t.coefficient == 0 for s in still.steps[:-1] for t in s.terms if t.name == "z")
    # without injected noise all that differs between two runs of one start is gone: DDIM's eta 1 is DDPM's mean then
    ddim = final("DDIM", 0.0, eta=1.0)
    assert within(ddim.steps[1].latents, still.steps[1].latents, [(1.0, still.steps[1].latents)])


def test_every_step_carries_its_z(tiny_model):
    for name, row in SAMPLERS.items():
        steps = run(tiny_model, Request(prompt="cat", steps=4, sampler=name)).steps
        drawn = [step.z is not None for step in steps[:-1]]
        assert any(drawn) == (row.stochastic == "always"), name
        for step in steps[:-1]:
            assert (step.z is not None) == any(term.name == "z" for term in step.terms)
