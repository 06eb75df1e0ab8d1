"""A picture in latent space: encoded, measured, decoded in several ways, and mixed with another.

Latents are *scaled* ones throughout, as `Model.encode` gives and `Model.decode` takes; float32, on the CPU, (C, h, w).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from explorer import limits
from explorer.diffusion import lerp, slerp
from explorer.intake import Brought
from explorer.records import Model, Preview, RequestError, Trajectory

BINS = 32  # of a channel's histogram
KINDS = ("lerp", "slerp")
WINDOW = 11  # pixels a side, of SSIM
SLOW = 0.5  # seconds: a decoder that takes longer is timed once
SHOWN = 40  # characters of a prompt in a name


@dataclass(frozen=True, eq=False)
class Held:
    """A picture and its latents, as the Latents tab keeps them."""

    name: str
    notes: tuple[str, ...]  # what was done to the picture on its way, in order
    picture: Tensor  # (3, H, W) in 0 … 1: what was encoded, or what the latents decode to
    mean: Tensor  # (C, h, w)
    std: Tensor | None  # (C, h, w), the posterior's; None for the end of a run and for a file, which have no posterior


def from_picture(name: str, brought: Brought, model: Model) -> Held:
    """Encodes a picture that was brought at the model's size or larger: the posterior's mean and its spread.

    Args:
        name: what to call it.
        brought: of `intake.bring(…, model.default_size)`.
        model: what encodes it.
    """
    width, height = model.default_size
    picture, notes = brought.picture, brought.notes
    if picture.shape[-2:] != (height, width):
        picture = interpolate(picture, (height, width), mode="bicubic", antialias=True).clamp(0, 1)
        notes += (f"reduced to {width}×{height} for the latents",)
    mean, std = (latents[0].float().cpu() for latents in model.posterior(picture * 2 - 1))
    return Held(name, notes, picture[0], mean, std)


def from_latents(name: str, latents: Tensor, model: Model) -> Held:
    """Latents of any origin, (C, h, w), with the picture that they decode to.

    Raises:
        RequestError: of another shape than the model's pictures have, or not finite.
    """
    latents = _checked(latents, model)
    return Held(name, (), model.decode(latents[None])[0], latents, None)


def from_run(trajectory: Trajectory, model: Model) -> Held:
    """The latents at the end of a run.

    Raises:
        RequestError: another model made the run, or it has no steps.
    """
    limits.check_own(trajectory, model, "opened as a latent")
    request = trajectory.request
    prompt = request.prompt if len(request.prompt) <= SHOWN else request.prompt[: SHOWN - 2].rstrip() + " …"
    name = f"“{prompt}”, seed {request.seed}" if prompt else f"no prompt, seed {request.seed}"
    return from_latents(name, trajectory.latents[0], model)


def channel_facts(latents: Tensor, picture: Tensor, most: float | None = None) -> list[dict[str, Any]]:
    """What each channel holds, and what of the picture it goes along with; plain JSON.

    Args:
        latents: (C, h, w).
        picture: (3, H, W) in 0 … 1; averaged over the area of each latent cell.
        most: histograms end at ±most, and values beyond count in the bins at the ends; None for the largest value.

    Returns:
        One record for each channel: mean, std (of the population), min, max; counts of BINS bins and their edges, the
        same for all channels; luminance, blue_yellow and red_green, Pearson's correlations with Y, Cb and Cr of ITU-R
        BT.601, from -1 to 1, or None where one side of it is constant.
    """
    most = max(float(latents.abs().max()) if most is None else most, 1e-6)
    edges = [round(float(edge), 4) for edge in torch.linspace(-most, most, BINS + 1)]
    colours = opponents(adaptive_avg_pool2d(picture, (latents.shape[1], latents.shape[2])))
    return [
        {
            "mean": float(channel.mean()), "std": float(channel.std(correction=0)),
            "min": float(channel.min()), "max": float(channel.max()),
            "counts": [int(count) for count in torch.histc(channel.clamp(-most, most), BINS, -most, most)], "edges": edges,
            **{name: correlation(channel, plane) for name, plane in colours.items()},
        }
        for channel in latents
    ]  # fmt: skip


def opponents(picture: Tensor) -> dict[str, Tensor]:
    """Luminance Y, blue − yellow Cb and red − green Cr of a picture (3, h, w) in 0 … 1. ITU-R BT.601, full range."""
    red, green, blue = picture
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    return {
        "luminance": luminance,
        "blue_yellow": 0.5 * (blue - luminance) / (1 - 0.114),
        "red_green": 0.5 * (red - luminance) / (1 - 0.299),
    }


def correlation(a: Tensor, b: Tensor) -> float | None:
    """Pearson's, -1 … 1, of two planes (h, w); None where one of them is constant."""
    a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
    norms = float(a.norm()), float(b.norm())
    if min(norms) < 1e-5 * math.sqrt(a.numel()):  # float32 leaves some rounding on a constant plane
        return None
    return max(-1.0, min(1.0, float((a * b).sum()) / (norms[0] * norms[1])))


def compression(picture_shape: tuple[int, ...], latents_shape: tuple[int, ...]) -> dict[str, Any]:
    """How many numbers, and bytes, latents (C, h, w) take instead of a picture (3, H, W), whose numbers are bytes."""
    numbers, latent_numbers = math.prod(picture_shape), math.prod(latents_shape)
    return {
        "picture_shape": list(picture_shape), "latents_shape": list(latents_shape),
        "picture_numbers": numbers, "latents_numbers": latent_numbers, "ratio": numbers / latent_numbers,
        "picture_bytes": numbers, "latents_bytes_float32": 4 * latent_numbers, "latents_bytes_float16": 2 * latent_numbers,
    }  # fmt: skip


def fidelity(a: Tensor, b: Tensor) -> dict[str, float | None]:
    """How near two pictures (3, H, W) in 0 … 1 are, by scikit-image.

    Returns:
        psnr, in dB, None where they are equal (it would be infinite); ssim, -1 … 1, with the Gaussian window of
        Wang et al. 2004, doi:10.1109/TIP.2003.819861.

    Raises:
        RequestError: they are of two sizes, or smaller than the window.
    """
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity  # slow to import

    _same("pictures", a, b)
    if min(a.shape[-2:]) < WINDOW:
        raise RequestError(f"The pictures are {a.shape[-1]}×{a.shape[-2]} pixels; SSIM needs {WINDOW}×{WINDOW}.")
    one, other = a.double().numpy(), b.double().numpy()
    ssim = structural_similarity(
        one, other, channel_axis=0, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    psnr = None if torch.equal(a, b) else float(peak_signal_noise_ratio(one, other, data_range=1.0))
    return {"psnr": psnr, "ssim": float(ssim)}


def decodings(latents: Tensor, model: Model) -> list[dict[str, Any]]:
    """The same latents by every decoder there is, cheapest first, against the full one.

    Args:
        latents: (C, h, w).
        model: whose decoders they are; a model without a tiny one has no row for it.

    Returns:
        name; picture (3, H, W) in 0 … 1; ms, the median of three calls, batch 1, after a first one that isn't counted
        (of a slow decoder that first one); psnr, ssim and mae against the full one.
    """
    latents = _checked(latents, model)
    preview, side = model.preview, model.latent_scale  # fitted before the clock runs
    ways: dict[str, Callable[[], Tensor | None]] = {
        "linear preview": lambda: linear(latents, preview, side),
        "tiny decoder": lambda: _first(model.decode_tiny(latents[None])),
        "full VAE": lambda: model.decode(latents[None])[0],
    }
    timed = {name: _timed(way) for name, way in ways.items()}
    full = timed["full VAE"][0]
    assert full is not None
    return [
        {"name": name, "picture": picture, "ms": ms, **fidelity(picture, full), "mae": float((picture - full).abs().mean())}
        for name, (picture, ms) in timed.items()
        if picture is not None
    ]


def linear(latents: Tensor, preview: Preview, scale: int) -> Tensor:
    """The linear preview of latents (C, h, w), each cell as a block of scale × scale pixels: (3, H, W) in 0 … 1."""
    colours = torch.einsum("rc,chw->rhw", torch.tensor(preview.matrix), latents)
    cells = (colours + torch.tensor(preview.offset)[:, None, None]).clamp(0, 1)
    return cells.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)


def mix(a: Tensor, b: Tensor, share: float, kind: str = "slerp") -> Tensor:
    """Between two latents of one shape: `share` 0 is a, 1 is b, both exact; along the line or the great circle.

    Raises:
        RequestError: an unknown kind, a share outside 0 … 1, or two shapes.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise RequestError(f"kind is {str(kind)[:40]!r}; it must be lerp or slerp.")
    share = limits.number("share", share, limits.UNIT)
    _same("latents", a, b)
    return (slerp if kind == "slerp" else lerp)(a, b, share)


def crossfade(picture_a: Tensor, picture_b: Tensor, share: float) -> Tensor:
    """What pixels alone give between two pictures of one size: `share` 0 is the first, 1 the second.

    Raises:
        RequestError: a share outside 0 … 1, or two sizes.
    """
    share = limits.number("share", share, limits.UNIT)
    _same("pictures", picture_a, picture_b)
    return lerp(picture_a, picture_b, share)


def _same(what: str, a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        shapes = " and ".join("×".join(map(str, x.shape)) for x in (a, b))
        raise RequestError(f"The two {what} are {shapes}; only {what} of one shape can be put side by side.")


def _checked(latents: Any, model: Model) -> Tensor:
    """Finite latents of the model's channels, of a size that a run may have."""
    low, high = (side // model.latent_scale for side in limits.SIZE)
    width, height = (side // model.latent_scale for side in model.default_size)
    shape = (model.latent_channels, height, width)
    if isinstance(latents, Tensor) and latents.ndim == 3 and all(low <= side <= high for side in latents.shape[1:]):
        shape = (model.latent_channels, latents.shape[1], latents.shape[2])
    return limits.check_latents("latents", latents, shape)


def _timed(way: Callable[[], Tensor | None]) -> tuple[Tensor | None, float]:
    """What it gives, and milliseconds."""
    start = time.perf_counter()
    made = way()
    times = [time.perf_counter() - start]
    for _ in range(0 if made is None or times[0] > SLOW else 3):
        start = time.perf_counter()
        way()
        times.append(time.perf_counter() - start)
    return made, median(times[1:] or times) * 1000


def _first(pictures: Tensor | None) -> Tensor | None:
    return None if pictures is None else pictures[0]
