"""What all commands that call the server share: their options, and how a failure ends them."""

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import grpc
import typer

from governor.cli.console import Output
from governor.cli.exits import ExitCode, leave
from governor.cli.failures import explain
from governor.cli.session import Connection, Session, connected

_Arguments = ParamSpec("_Arguments")
_Command = Callable[Concatenate[Session, _Arguments], None]


def calls_server(
    group: typer.Typer, name: str
) -> Callable[[_Command[_Arguments]], _Command[_Arguments]]:
    """Registers a function of a Session as a command of `group`.

    Its options are the function's own parameters, the fields of parameters that are dataclasses of
    options, and those of the Connection.
    """

    def register(function: _Command[_Arguments]) -> _Command[_Arguments]:
        own = list(inspect.signature(function).parameters.values())[1:]

        @wraps(function)
        def run(**arguments: Any) -> None:
            connection = _gather(Connection, arguments)
            for parameter in own:
                if is_dataclass(parameter.annotation):
                    arguments[parameter.name] = _gather(parameter.annotation, arguments)
            _run(function, connection, arguments)

        parameters = [option for parameter in own for option in _options_of(parameter)]
        signature = inspect.Signature([*parameters, *_fields_of(Connection)])
        # typer reads a command's options off its signature, and would look behind the wrapper.
        del run.__wrapped__
        run.__dict__["__signature__"] = signature
        run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        group.command(name)(run)
        return function

    return register


def _run(function: Callable[..., None], connection: Connection, arguments: dict[str, Any]) -> None:
    output = Output(as_json=connection.as_json)
    with connected(connection, output) as session:
        try:
            function(session, **arguments)
        except grpc.RpcError as error:
            code = explain(error, output, address=connection.address, request_id=session.request_id)
            leave(code)
        except KeyboardInterrupt:
            leave(ExitCode.INTERRUPTED)


def _options_of(parameter: inspect.Parameter) -> list[inspect.Parameter]:
    """A parameter as typer should see it: a dataclass stands for its fields."""
    if is_dataclass(parameter.annotation):
        return _fields_of(parameter.annotation)
    kind = inspect.Parameter.KEYWORD_ONLY
    return [parameter.replace(kind=kind)]


def _fields_of(options: Any) -> list[inspect.Parameter]:
    kind = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(field.name, kind, default=field.default, annotation=field.type)
        for field in fields(options)
    ]


def _gather(options: Any, arguments: dict[str, Any]) -> Any:
    """The dataclass out of the arguments that are its fields, which are taken away."""
    return options(**{field.name: arguments.pop(field.name) for field in fields(options)})
