"""What the player says of a step, against the engine's own Steps: the sentences, the label, and every coefficient."""

from __future__ import annotations

import re

import gradio as gr
import numpy as np
import pytest
from actions import PLAYER, choose, press_run, set_number, wait_for, wait_for_frame
from serving import serve

from explorer import Request, run
from explorer.frames import encode
from explorer.player import player
from explorer.samplers import SAMPLERS

# Every step's texts: the slider is put on each and two animation frames are waited for.
ALL = """async () => {
    const slider = document.querySelector('.timeline'), text = e => document.querySelector(e).innerText, seen = [];
    const values = e => Object.fromEntries([...document.querySelectorAll(e)].map(v => [v.dataset.of, v.innerText]));
    for (let i = 0; i <= +slider.max; i++) {
        slider.value = i; slider.dispatchEvent(new Event('input'));
        await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
        seen.push({ label: text('.label'), caption: text('.caption'), values: values('.caption .value'),
            terms: [...document.querySelectorAll('.step-equation .term')].map(t => ({
                minus: t.previousElementSibling?.innerText === '−', number: t.querySelector('.number').innerText,
                name: t.innerText.split('·')[1].trim(),
                colour: t.className.match(/q-([^ ]+)/)[1] })) });
    }
    return seen;
}"""
SHAPES = {"x_t": ("x_t", "xt"), "eps": ("eps", "ε"), "x0": ("x0", "x0"), "z": ("z", "z"), "x0_1": ("x0", "x0(−1)")}


def coefficient(text: str) -> float:
    return float(text.replace("−", "-"))


@pytest.mark.parametrize("sampler", ["DDPM", "Euler", "DPM++ 2M"])
def test_the_equation_shows_the_engines_terms_at_every_step(page, tiny_model, sampler):
    wanted = Request(prompt="pizza", seed=11, steps=9, guidance=3.0, sampler=sampler)
    page.locator(".controls textarea").first.fill(wanted.prompt)
    choose(page, "Sampler", sampler)
    for label in ("seed", "steps", "guidance"):
        set_number(page, label.capitalize(), getattr(wanted, label))
    press_run(page)
    wait_for(page, "done")
    wait_for_frame(page, 9)
    steps, seen = run(tiny_model, wanted).steps, page.evaluate(ALL)
    assert len(seen) == len(steps) == 10
    for step, shown in zip(steps, seen, strict=True):
        assert [(t["colour"], t["name"]) for t in shown["terms"]] == [SHAPES[t.name] for t in step.terms], step.index
        numbers = [coefficient(t["number"]) * (-1 if t["minus"] else 1) for t in shown["terms"]]
        expected = [t.coefficient for t in step.terms]
        for number, value in zip(numbers, expected, strict=True):  # three decimals, or two digits where that says nothing
            tolerance = 0.000501 if abs(value) >= 0.0005 else 0.051 * abs(value)
            assert abs(number - value) <= tolerance, (step.index, number, value)
        assert abs(float(re.search(r"t = ([\d.]+) ", shown["label"])[1]) - step.timestep) <= 0.0501
        assert f"α {step.alpha:.3f} · σ {step.sigma:.3f}" in shown["label"]


# --- what you are looking at ---


@pytest.fixture(scope="module")
def runs(tiny_model):
    return {
        name: run(tiny_model, Request(prompt="pizza", steps=20, seed=6, sampler=name)) for name in ("DDIM", "Heun", "PNDM")
    }


@pytest.fixture(scope="module")
def bench(chromium, runs, tiny_model):
    """A page with a player and a button for each run, and one that stops short of the end."""

    def sender(name, until):
        def send():
            steps = runs[name].steps
            for step in steps[:until]:
                yield encode(step, run=f"{name}{until}", n=len(steps), model_preview=tiny_model.preview, steps=20)

        return send

    with gr.Blocks() as page:
        stage = player("bench")
        for name in runs:
            gr.Button(name).click(sender(name, None), None, stage, show_progress="hidden")
        gr.Button("half").click(sender("DDIM", 11), None, stage, show_progress="hidden")
    with serve(page.queue()) as url:
        yield url


def half(tensor):
    """As the browser has it: float16."""
    return tensor[0].half().double().numpy()


def rms(a, b) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2)))


def facts(steps, i):
    """What the caption of step i says, computed from the engine's Steps."""
    step, end, x0 = steps[i], half(steps[-1].latents), half(steps[i].x0)
    first = rms(half(steps[0].x0), end)
    noise = 100 * step.sigma**2 / (step.alpha**2 + step.sigma**2)
    if i == 0:
        return {"distance": first, "noise": noise}
    change = x0 - half(steps[i - 1].x0)
    quarters = {
        f"{v} {h}": float(np.sqrt(np.mean(change[:, rows, columns] ** 2)))
        for v, rows in (("upper", slice(0, 4)), ("lower", slice(4, 8)))
        for h, columns in (("left", slice(0, 4)), ("right", slice(4, 8)))
    }
    channels = np.sqrt(np.mean(change**2, axis=(1, 2)))
    corner = max(quarters, key=quarters.get)
    return {
        "moved": float(np.sqrt(np.mean(change**2))),
        "corner": corner,
        "corner-moved": quarters[corner],
        "channel": str(int(channels.argmax())),
        "channel-moved": float(channels.max()),
        "distance": rms(x0, end),
        "first-distance": first,
        "noise": noise,
    }


def agrees(shown: dict[str, str], expected: dict) -> None:
    for name, text in shown.items():
        value = expected[name]
        if isinstance(value, str):
            assert text == value, name
        else:
            assert abs(float(text) - value) <= (0.51 if name == "noise" else 0.000501), (name, text, value)


@pytest.mark.parametrize("sampler", ["DDIM", "Heun"])
def test_the_sentences_are_about_this_step_and_their_numbers_are_right(open_page, bench, runs, sampler):
    page, steps = open_page(bench), runs[sampler].steps
    page.get_by_role("button", name=sampler).click()
    wait_for_frame(page, len(steps) - 1)
    seen = page.evaluate(ALL)
    for i, shown in enumerate(seen[:-1]):
        expected = facts(steps, i)
        exact = re.search(r"(?<!over )(?<!than )\b\d+%", shown["caption"])
        assert set(shown["values"]) == set(expected) - (set() if exact else {"noise"}), shown["caption"]
        agrees(shown["values"], expected)
    last = {"distance": rms(half(steps[-2].x0), half(steps[-1].latents)), "first-distance": facts(steps, 0)["distance"]}
    assert set(seen[-1]["values"]) == set(last)
    agrees(seen[-1]["values"], last)


def test_early_middle_and_late_steps_read_differently(open_page, bench):
    page = open_page(bench)
    page.get_by_role("button", name="DDIM").click()
    wait_for_frame(page, 20)
    captions = [shown["caption"] for shown in page.evaluate(ALL)]
    assert len(set(captions)) == 21
    assert captions[0].startswith("The start: 99% noise.")
    assert "is noise (by variance), and x0 is a guess." in captions[2]
    assert "is still noise (by variance), the rest is x0." in captions[13]
    assert "only" in captions[19]
    assert captions[20].startswith("The last state: nothing is left to predict.")
    assert all(2 <= caption.count(". ") + 1 <= 3 for caption in captions)


def test_before_the_end_is_known_it_says_how_far_it_has_come(open_page, bench, runs):
    page, steps = open_page(bench), runs["DDIM"].steps
    page.get_by_role("button", name="half").click()
    wait_for_frame(page, 10)
    value = page.locator('.caption .value[data-of="since-first"]').inner_text()
    assert abs(float(value) - rms(half(steps[10].x0), half(steps[0].x0))) <= 0.000501
    assert page.locator('.caption .value[data-of="distance"]').count() == 0


@pytest.mark.parametrize("sampler", ["Heun", "PNDM", "DDIM"])
def test_repeated_timesteps_are_marked_and_evaluations_are_told_from_steps(open_page, bench, runs, sampler):
    page, steps = open_page(bench), runs[sampler].steps
    page.get_by_role("button", name=sampler).click()
    n = SAMPLERS[sampler].evaluations(20)
    wait_for_frame(page, n)
    twins = [i for i in range(1, n) if steps[i].timestep == steps[i - 1].timestep]
    assert twins == {"Heun": list(range(2, 39, 2)), "PNDM": [2], "DDIM": []}[sampler]
    titles = page.locator(".twin").evaluate_all("marks => marks.map(mark => mark.title)")
    told = "Evaluation {} repeats the timestep of the one before, t = "
    assert [title.startswith(told.format(i)) for i, title in zip(twins, titles, strict=True)] == [True] * len(twins)
    assert all(abs(float(t.split("= ")[1]) - steps[i].timestep) <= 0.0501 for i, t in zip(twins, titles, strict=True))
    page.locator(".timeline").press("5")
    at = round(n / 2 + 1e-9)
    wait_for_frame(page, at)
    start = f"step {at} of 20 · t = " if sampler == "DDIM" else f"evaluation {at} of {n} · 20 steps · t = "
    assert page.locator(".label").inner_text().startswith(start)
    if at in twins:
        assert page.locator(".caption").inner_text().startswith("A second look at t = ")


def test_the_curves_have_the_latents_norm_in_vp_form(open_page, bench, runs):
    page, steps = open_page(bench), runs["Heun"].steps
    page.get_by_role("button", name="Heun").click()
    wait_for_frame(page, 39)
    row = page.locator(".legend div.q-x_t")
    assert "VP form" in row.get_attribute("title")
    page.locator(".timeline").press("Home")
    wait_for_frame(page, 0)
    vp = steps[0].latents.square().mean().sqrt() / np.hypot(steps[0].alpha, steps[0].sigma)
    assert row.locator("dd").inner_text() == f"{float(vp):.3f}"
    assert page.evaluate(f"{PLAYER}.querySelectorAll('.curve').length") == 5
