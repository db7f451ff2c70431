"""Claims about refusals: each carries what it was told, as strings that a caller may see."""

from inspect import Parameter, signature

import pytest

from governor.domain import errors
from governor.domain.errors import GovernorError

ALL = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, GovernorError)
]
SAMPLES = {"head": 9, "limit": 64, "revision": 12}


def made(error: type[GovernorError]) -> GovernorError:
    """The error with a recognisable value for each of its parameters."""
    positional: list[object] = []
    named: dict[str, object] = {}
    for parameter in signature(error).parameters.values():
        value = SAMPLES.get(parameter.name, f"<{parameter.name}>")
        if parameter.kind is Parameter.KEYWORD_ONLY:
            named[parameter.name] = value
        elif parameter.kind is Parameter.POSITIONAL_OR_KEYWORD:
            positional.append(value)
    return error(*positional, **named)  # type: ignore[arg-type] # made for whatever signature


@pytest.mark.parametrize("error", ALL)
def test_a_refusal_carries_what_it_was_told(error: type[GovernorError]) -> None:
    refusal = made(error)
    told = [
        parameter.name
        for parameter in signature(error).parameters.values()
        if parameter.kind is not Parameter.VAR_KEYWORD and parameter.name != "message"
    ]
    assert set(refusal.facts) <= set(told)
    for name in told:
        said = refusal.facts.get(name) or getattr(refusal, name)
        assert said == str(SAMPLES.get(name, f"<{name}>"))
    assert all(isinstance(value, str) for value in refusal.facts.values())


@pytest.mark.parametrize("error", ALL)
def test_the_message_is_the_refusals_text(error: type[GovernorError]) -> None:
    refusal = made(error)
    assert str(refusal) == refusal.message != ""
