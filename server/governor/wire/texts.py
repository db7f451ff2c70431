"""The kinds of text and bytes that the contract knows, each with its bound and its words."""

from typing import Final

from governor.domain.decision import Code
from governor.wire import limits
from governor.wire.shapes import member, number, octets, prose, span, text
from governor.wire.table import Entries

ID: Final = text(
    rf"[A-Za-z0-9][A-Za-z0-9._:/@+=~-]{{0,{limits.ID_CHARACTERS_MAX - 1}}}",
    f"1 to {limits.ID_CHARACTERS_MAX} letters, digits and ._:/@+=~-, a letter or digit first",
)
TENANT: Final = text(
    rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{limits.TENANT_CHARACTERS_MAX - 1}}}",
    f"1 to {limits.TENANT_CHARACTERS_MAX} letters, digits and ._-, a letter or digit first",
)
NAME: Final = text(
    rf"[A-Za-z0-9][A-Za-z0-9._/-]{{0,{limits.NAME_CHARACTERS_MAX - 1}}}",
    f"1 to {limits.NAME_CHARACTERS_MAX} letters, digits and ._/-, a letter or digit first",
)
TAG: Final = text(
    rf"[A-Za-z0-9][A-Za-z0-9._:/=-]{{0,{limits.TAG_CHARACTERS_MAX - 1}}}",
    f"1 to {limits.TAG_CHARACTERS_MAX} letters, digits and ._:/=-, a letter or digit first",
)
METADATA_KEY: Final = text(
    rf"[A-Za-z0-9][A-Za-z0-9._/-]{{0,{limits.METADATA_KEY_CHARACTERS_MAX - 1}}}",
    f"1 to {limits.METADATA_KEY_CHARACTERS_MAX} letters, digits and ._/-, a letter or digit first",
)
REASON_CODE: Final = text(
    rf"[A-Z][A-Z0-9_]{{0,{limits.CODE_CHARACTERS_MAX - 1}}}",
    f"1 to {limits.CODE_CHARACTERS_MAX} capitals, digits and _, a capital first",
)
ACTOR: Final = text(
    rf"[!-~]{{1,{limits.ACTOR_CHARACTERS_MAX}}}",
    f"1 to {limits.ACTOR_CHARACTERS_MAX} visible ASCII characters",
)
VERSION: Final = text(
    rf"[ -~]{{0,{limits.VERSION_CHARACTERS_MAX}}}",
    f"at most {limits.VERSION_CHARACTERS_MAX} printable ASCII characters",
)
LINEAGE: Final = VERSION
MEDIA_TYPE: Final = text(
    rf"(?=.{{3,{limits.MEDIA_TYPE_CHARACTERS_MAX}}}$)"
    r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*"
    r"(; ?[A-Za-z0-9_.-]+=([A-Za-z0-9_.+:/-]+|\"[ !#-\[\]-~]*\"))*",
    f"a media type of at most {limits.MEDIA_TYPE_CHARACTERS_MAX} characters, as in "
    "`application/json; charset=utf-8`",
)
URI: Final = text(
    rf"(?=.{{3,{limits.URI_CHARACTERS_MAX}}}$)[A-Za-z][A-Za-z0-9+.-]*:[!-~]+",
    f"an absolute URI of at most {limits.URI_CHARACTERS_MAX} visible ASCII characters",
)
ETAG: Final = ID
PAGE_TOKEN: Final = text(
    rf"[A-Za-z0-9_=-]{{1,{limits.PAGE_TOKEN_CHARACTERS_MAX}}}",
    "a next_page_token of an earlier answer",
)
TEXT: Final = prose(limits.TEXT_CHARACTERS_MAX)
LINE: Final = prose(limits.LINE_CHARACTERS_MAX, lines=False)
DIGEST: Final = octets(exactly=limits.DIGEST_BYTES)
REVISION: Final = number(0, limits.REVISION_MAX)
WAIT: Final = span(0, limits.WAIT_SECONDS_MAX)
METADATA: Final = Entries(
    key=METADATA_KEY,
    value=prose(limits.METADATA_VALUE_CHARACTERS_MAX),
    count_max=limits.METADATA_ENTRIES_MAX,
)
DECISION_CODE: Final = member((code.text for code in Code), "one of the codes of a Decision")
