"""Every refusal is one sentence with the field, the value and the limit; and pairs that diffusers refuses."""

import math

import numpy as np
import pytest
from references import REFUSED
from tiny import as_model, tiny_parts

from explorer import Request, denoise, run
from explorer.limits import check
from explorer.records import RequestError
from explorer.samplers import SAMPLERS
from explorer.schedule import schedule

BAD = [
    ("steps", 0, "steps is 0; it must be from 1 to 1000."),
    ("steps", 1001, "steps is 1001; it must be from 1 to 1000."),
    ("steps", 10**400, "it must be from 1 to 1000."),
    ("steps", 10**5000, "steps is a number of more than 36 digits; it must be from 1 to 1000."),
    ("guidance", 10**5000, "guidance is a number of more than 36 digits"),
    ("eta", np.float64(99.0), "eta is 99.0; it must be from 0 to 1."),
    ("steps", 2.5, "steps is 2.5; a whole number from 1 to 1000 is needed."),
    ("steps", math.nan, "steps is nan; a whole number"),
    ("steps", math.inf, "steps is inf; a whole number"),
    ("steps", "20", "steps is '20'; a whole number"),
    ("steps", True, "steps is True; a whole number"),
    ("steps", [20], "steps is a list; a whole number"),
    ("steps", None, "steps is None; a whole number"),
    ("guidance", math.nan, "guidance is nan; it must be from -5 to 30."),
    ("guidance", math.inf, "guidance is inf; it must be from -5 to 30."),
    ("guidance", -5.01, "guidance is -5.01; it must be from -5 to 30."),
    ("guidance", 30.5, "guidance is 30.5; it must be from -5 to 30."),
    ("guidance", 10**400, "it must be from -5 to 30."),
    ("guidance", "4", "guidance is '4'; a number from -5 to 30 is needed."),
    ("guidance", [4.0], "guidance is a list; a number from -5 to 30 is needed."),
    ("guidance", (4.0, 4.0), "guidance has 2 values; this run makes 20 evaluations, one value each."),
    ("guidance", (4.0,) * 19 + (math.nan,), "guidance[19] is nan; it must be from -5 to 30."),
    ("guidance", (4.0,) * 19 + (True,), "guidance[19] is True; a number"),
    ("guidance_rescale", 1.1, "guidance_rescale is 1.1; it must be from 0 to 1."),
    ("eta", -0.1, "eta is -0.1; it must be from 0 to 1."),
    ("eta", math.nan, "eta is nan; it must be from 0 to 1."),
    ("noise_scale", 2, "noise_scale is 2; it must be from 0 to 1."),
    ("noise_scale", False, "noise_scale is False; a number from 0 to 1 is needed."),
    ("seed", -1, "seed is -1; it must be from 0 to 4294967295."),
    ("seed", 2**32, "seed is 4294967296; it must be from 0 to 4294967295."),
    ("seed", 1.5, "seed is 1.5; a whole number"),
    ("seed", "7", "seed is '7'; a whole number"),
    ("width", 60, "width is 60; it must be a multiple of 8."),
    ("width", 24, "width is 24; it must be from 32 to 2048."),
    ("height", 4096, "height is 4096; it must be from 32 to 2048."),
    ("height", "64", "height is '64'; a whole number"),
    ("prompt", "x" * 100_000, "prompt has 100000 characters; the limit is 5000."),
    ("prompt", "a\0b", "prompt has the character U+0000 at place 2; it must be plain text."),
    ("prompt", "a\ud800", "prompt has the character U+D800 at place 2; it must be plain text."),
    ("prompt", None, "prompt is None; a text of at most 5000 characters is needed."),
    ("prompt", ["cat"], "prompt is a list; a text"),
    ("negative_prompt", 3, "negative_prompt is 3; a text"),
    ("sampler", "ddim", "sampler is 'ddim'; it must be one of DDPM, DDIM, PNDM, Euler,"),
    ("sampler", ["DDIM"], "sampler is a list; it must be one of"),
    ("sampler", "x" * 9000, "…'; it must be one of"),
    ("spacing", "even", "spacing is 'even'; it must be one of leading, linspace, trailing."),
    ("spacing", 3, "spacing is 3; it must be one of"),
    ("karras", True, "karras is True, but DDIM has no Karras sigmas; leave it out there."),
    ("karras", 1, "karras is 1; it must be True or False."),
]


@pytest.mark.parametrize(("field", "value", "sentence"), BAD, ids=range(len(BAD)))
def test_refused_in_one_sentence(tiny_model, field, value, sentence):
    with pytest.raises(RequestError) as refusal:
        denoise(tiny_model, Request(**{field: value}))
    message = str(refusal.value)
    assert sentence in message
    assert field in message
    assert "\n" not in message
    assert len(message) < 300
    assert message.endswith(".")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"sampler": "Euler", "eta": 0.5}, "eta is 0.5, but Euler has none; it must be 0 there."),
        ({"sampler": "Euler", "noise_scale": 0.5}, "noise_scale is 0.5, but Euler injects no noise"),
        ({"sampler": "LCM", "spacing": "trailing"}, "spacing is 'trailing', but LCM has a spacing of its own"),
        ({"sampler": "LCM", "steps": 51}, "steps is 51, but LCM takes at most 50."),
        ({"steps": 1000, "width": 512, "height": 512}, "= 262144000; the limit is 67108864."),
        (
            {"steps": 61, "spacing": "trailing"},
            "steps is 61: with trailing spacing diffusers rounds to 62 timesteps from 999 to -1, "
            "off the grid 0 to 999; take 60.",
        ),
        ({"steps": 975, "spacing": "trailing"}, "take 973."),
        ({"steps": 1000, "spacing": "leading", "sampler": "UniPC"}, "take 998."),
        ({"steps": 1000, "spacing": "leading"}, "from 1000 to 1, off the grid 0 to 999; take 999."),
    ],
)
def test_what_does_not_fit_together(tiny_model, settings, sentence):
    with pytest.raises(RequestError) as refusal:
        denoise(tiny_model, Request(**settings))
    assert sentence in str(refusal.value)


@pytest.mark.parametrize("name", ["DPM++ 2M", "UniPC"])
def test_karras_steps_that_share_their_first_timestep(name):
    model = as_model(tiny_parts(beta_schedule="linear", beta_start=1e-4, beta_end=0.03))
    with pytest.raises(
        RequestError, match=r"so many steps share their first timestep that diffusers loses count; take fewer"
    ):
        denoise(model, Request(steps=1000, sampler=name, karras=True))
    scheduler = SAMPLERS[name].build(model.scheduler_config, use_karras_sigmas=True)
    scheduler.set_timesteps(1000)
    scheduler._init_step_index(scheduler.timesteps[0])
    assert scheduler.step_index == 1  # diffusers begins at the second of the two, and runs off its table at the end


def test_plain_values_come_out(tiny_model):
    request = check(Request(steps=20.0, seed=np.int64(4), guidance=3, width=np.float32(64)), tiny_model)
    assert (request.steps, request.seed, request.guidance, request.width, request.height) == (20, 4, 3.0, 64, 64)
    assert [type(v) for v in (request.steps, request.seed, request.guidance, request.width)] == [int, int, float, int]
    assert check(request, tiny_model) == request
    assert hash(request) == hash(check(request, tiny_model))


def test_the_ends_of_the_ranges_run(tiny_model):
    for settings in ({"guidance": -5.0}, {"guidance": 30}, {"seed": 2**32 - 1}, {"prompt": "x" * 5000}, {"eta": 1.0},
                     {"width": 32, "height": 32}, {"prompt": "𝓪 ✨ مرحبا"}):  # fmt: skip
        run(tiny_model, Request(steps=1, **settings))
    run(tiny_model, Request(steps=50, sampler="LCM", guidance=1.0))


@pytest.mark.parametrize("name", SAMPLERS)
def test_prediction_types_that_diffusers_refuses(name):
    """Exactly the pairs of the column `refuses`, and diffusers does refuse them."""
    for prediction_type in ("epsilon", "v_prediction", "sample"):
        model = as_model(tiny_parts(prediction_type))
        request = Request(steps=2, sampler=name)
        if (name, prediction_type) not in REFUSED:
            run(model, request)
            continue
        assert prediction_type in SAMPLERS[name].refuses
        with pytest.raises(RequestError, match=r"can't use a model that predicts 'sample'"):
            denoise(model, request)
        scheduler = SAMPLERS[name].build(model.scheduler_config)
        scheduler.set_timesteps(2)
        latents = next(denoise(as_model(tiny_parts()), Request(steps=2))).latents
        scheduler.scale_model_input(latents, scheduler.timesteps[0])
        with pytest.raises((ValueError, NotImplementedError)):
            scheduler.step(latents, scheduler.timesteps[0], latents)


@pytest.mark.parametrize("name", ["DDPM", "DDIM", "LCM"])
def test_epsilon_with_a_terminal_alpha_of_zero(name):
    parts = tiny_parts("epsilon", rescale_betas_zero_snr=True, timestep_spacing="trailing")
    with pytest.raises(RequestError) as refusal:
        denoise(as_model(parts), Request(steps=4, sampler=name))
    assert "terminal alpha of 0" in str(refusal.value)


@pytest.mark.parametrize("name", ["PNDM", "Heun"])
def test_rows_that_ignore_zero_snr_rescaling(name):
    parts = tiny_parts("v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing")
    plain = schedule(
        Request(steps=4, sampler=name), as_model(tiny_parts("v_prediction", timestep_spacing="trailing")).scheduler_config
    )
    rescaled = schedule(Request(steps=4, sampler=name), as_model(parts).scheduler_config)
    assert rescaled.levels == plain.levels
    assert "ignores zero-SNR rescaling" in SAMPLERS[name].limits


def test_a_schedule_that_diffusers_refuses():
    config = {**as_model(tiny_parts()).scheduler_config, "beta_schedule": "sigmoid"}
    assert schedule(Request(sampler="DDPM", steps=3), config).evaluations == 3  # only DDPM knows it
    with pytest.raises(RequestError, match=r"sampler is 'Euler', which diffusers refuses here: sigmoid is not implemented"):
        schedule(Request(sampler="Euler", steps=3), config)


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_every_step_count_runs_or_is_refused(spacing):
    """The grid is diffusers' own; where its rounding fails, the sentence says so, and nothing else happens."""
    config, refused = as_model(tiny_parts()).scheduler_config, []
    for steps in [*range(1, 1001, 7), 61, 103, 121, 999, 1000]:
        try:
            plan = schedule(Request(sampler="DDIM", steps=steps, spacing=spacing), config)
        except RequestError:
            refused.append(steps)
        else:
            assert plan.evaluations == steps
            assert all(0 <= float(t) <= 999 for t in plan.timesteps)
    assert ({61, 103, 121} <= set(refused)) == (spacing == "trailing")


def test_every_row_is_described():
    for name, row in SAMPLERS.items():
        assert row.name == name
        assert row.summary.endswith(".")
        assert "arXiv:" in row.paper
        assert row.stochastic in ("no", "always", "eta")
        assert row.space in ("VP", "VE")
        assert row.limits.endswith(".")
