"""The look of Gradio's own components: neutral, flat, with the system's fonts, so that the quantities have the colours."""

from __future__ import annotations

import gradio as gr
from gradio.themes.utils import colors, fonts, sizes

FONTS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
MONO = ("ui-monospace", "SF Mono", "Cascadia Mono", "Consolas", "monospace")


def theme() -> gr.themes.Base:
    """The theme given to launch(); colours refer to the palette of assets/theme.css."""
    return gr.themes.Base(
        primary_hue=colors.stone,
        secondary_hue=colors.stone,
        neutral_hue=colors.stone,
        text_size=sizes.text_md,
        spacing_size=sizes.spacing_md,
        radius_size=sizes.radius_md,
        font=[fonts.Font(name) for name in FONTS],  # Font, not str: a str would be looked for among Gradio's files
        font_mono=[fonts.Font(name) for name in MONO],
    ).set(
        **_both("body_background_fill", "var(--page)"),
        **_both("background_fill_primary", "var(--page)"),
        **_both("background_fill_secondary", "var(--surface)"),
        **_both("body_text_color", "var(--ink)"),
        **_both("body_text_color_subdued", "var(--ink-soft)"),
        **_both("block_background_fill", "transparent"),
        **_both("block_border_width", "0px"),
        **_both("block_label_text_color", "var(--ink)"),
        **_both("block_title_text_color", "var(--ink)"),
        **_both("block_info_text_color", "var(--ink-soft)"),
        **_both("border_color_primary", "var(--line-strong)"),
        **_both("border_color_accent", "var(--ink)"),
        **_both("color_accent_soft", "var(--surface)"),
        **_both("link_text_color", "var(--q-update)"),
        **_both("input_background_fill", "var(--page)"),
        **_both("input_border_color", "var(--line-strong)"),
        **_both("input_border_color_focus", "var(--focus)"),
        **_both("input_shadow_focus", "0 0 0 2px var(--focus)"),
        **_both("input_border_width", "1px"),
        **_both("input_placeholder_color", "var(--ink-soft)"),
        **_both("slider_color", "var(--ink)"),
        **_both("button_primary_background_fill", "var(--ink)"),
        **_both("button_primary_background_fill_hover", "color-mix(in srgb, var(--ink) 86%, var(--page))"),
        **_both("button_primary_text_color", "var(--page)"),
        **_both("button_secondary_background_fill", "var(--page)"),
        **_both("button_secondary_background_fill_hover", "var(--surface)"),
        **_both("button_secondary_text_color", "var(--ink)"),
        **_both("button_secondary_border_color", "var(--line-strong)"),
        block_padding="0px",
        block_title_text_weight="600",
        color_accent="var(--ink)",
        button_border_width="1px",
        button_transition="background-color 0.12s",
        layout_gap="12px",
    )


def _both(name: str, value: str) -> dict[str, str]:
    """The same value in light and dark: the palette's variables know the difference."""
    return {name: value, f"{name}_dark": value}
