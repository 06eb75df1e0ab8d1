"""The diagram shows what a model's files say, and never runs it."""

from tiny import as_model, tiny_parts

from explorer.tabs.diagram import diagram


def test_a_models_config_is_no_template():
    model = as_model(tiny_parts())
    model.scheduler_config = {**model.scheduler_config, "beta_schedule": "${globalThis.pwned = 1}<b>`{{x}}"}
    component = diagram(model, "player")
    assert "pwned" not in component.html_template
    assert "${globalThis.pwned = 1}&lt;b&gt;`{{x}}" in component.value
