"""A protobuf payload as text, by a descriptor set that the reader brings along."""

from pathlib import Path

import typer
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError, Message

from governor.cli.show import PayloadReader
from governor.cli.texts import payload_text, safe

MEDIA_TYPES = ("application/protobuf", "application/x-protobuf", "application/vnd.google.protobuf")


def payload_reader(descriptors: Path | None, message: str) -> PayloadReader:
    """How payloads are to be shown: those in protobuf by `message` of the file, if one is given."""
    if (descriptors is None) != (not message):
        raise typer.BadParameter("go together", param_hint="--descriptors and --message")
    if descriptors is None:
        return payload_text
    kind = _message_class(descriptors, message)

    def read(content_type: str, data: bytes) -> str:
        media_type = content_type.partition(";")[0].strip().lower()
        if media_type not in MEDIA_TYPES:
            return payload_text(content_type, data)
        try:
            return _decoded(kind, data)
        except (DecodeError, ValueError, TypeError) as error:
            problem = f"this is no {kind.DESCRIPTOR.full_name}: {error}"
            return f"(careful: {safe(problem)})\n{payload_text(content_type, data)}"

    return read


def _decoded(kind: type[Message], data: bytes) -> str:
    """The message as JSON, with a warning where the bytes say more than that."""
    message = kind()
    message.ParseFromString(data)
    shown = json_format.MessageToJson(message, preserving_proto_field_name=True)
    message.DiscardUnknownFields()
    # A field the descriptor does not know, or one that stands there twice, is not in what is shown.
    lacks = len(data) - message.ByteSize()
    more = f"(careful: {lacks} of {len(data)} bytes say more than this)\n" if lacks else ""
    return f"{more}{kind.DESCRIPTOR.full_name}\n{safe(shown, lines=True)}"


def _message_class(descriptors: Path, message: str) -> type[Message]:
    files = descriptor_pb2.FileDescriptorSet()
    try:
        files.ParseFromString(descriptors.read_bytes())
        pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            pool.Add(file)
        found = pool.FindMessageTypeByName(message)
    except OSError as error:
        fact = f"{descriptors}: {error.strerror}"
        raise typer.BadParameter(fact, param_hint="--descriptors") from None
    except KeyError:
        fact = f"{descriptors} has no message {message!r}"
        raise typer.BadParameter(fact, param_hint="--message") from None
    except (DecodeError, TypeError) as error:
        fact = f"{descriptors} is no descriptor set: {error}"
        raise typer.BadParameter(fact, param_hint="--descriptors") from None
    return message_factory.GetMessageClass(found)
