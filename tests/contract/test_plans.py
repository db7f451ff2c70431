"""Every question is answered by the index that was made for it, on both databases."""

import re

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from governor.storage.open import open_store
from tests.support.backends import Backend
from tests.support.builders import encode_entry
from tests.support.filling import fill
from tests.support.questions import Question, questions

REQUESTS = 6_000


async def test_every_question_walks_the_index_that_was_made_for_it(backend: Backend) -> None:
    """No table is scanned, and nothing is sorted without a reason that is stated. PostgreSQL plans
    by what it has counted, so there is something to count.
    """
    store = await open_store(backend.url, encode=encode_entry)
    await fill(store, REQUESTS)
    await store.close()
    if not backend.is_sqlite:
        await count_anew(backend)
    told = [
        f"{question.name}: {fault}\n{plan}"
        for question in questions(REQUESTS)
        for plan in [await plan_of(backend, question)]
        for fault in faults(question, plan)
    ]
    assert not told, "\n\n".join(told)


async def count_anew(backend: Backend) -> None:
    """What the server does by itself now and then: it plans by what it counted."""
    engine = create_async_engine(
        make_url(backend.url).set(drivername="postgresql+asyncpg"), isolation_level="AUTOCOMMIT"
    )
    async with engine.connect() as connection:
        await connection.exec_driver_sql("VACUUM ANALYZE")
    await engine.dispose()


async def plan_of(backend: Backend, question: Question) -> str:
    """What the database says it would do."""
    explain = "EXPLAIN QUERY PLAN" if backend.is_sqlite else "EXPLAIN (COSTS OFF)"
    async with backend.intruder() as connection:
        compiled = question.statement.compile(
            dialect=connection.dialect,
            compile_kwargs={"literal_binds": True, "render_postcompile": True},
        )
        found = await connection.exec_driver_sql(f"{explain} {compiled}")
        return "\n".join(str(row[-1]) for row in found)


def faults(question: Question, plan: str) -> list[str]:
    """What is wrong with it."""
    found = []
    index = question.answered_by
    names = [rf"{index} USING PRIMARY KEY", rf"{index}(_\d+)?_pkey", rf"{index}\b"]
    if question.or_else:
        names.append(question.or_else)
    if not re.search("|".join(names), plan):
        found.append(f"is not answered by {index}")
    tables = "requests|request_tags|request_labels|request_waits|ledger|executions"
    if re.search(rf"Seq Scan on ({tables})|SCAN ({tables})(?! USING)", plan):
        found.append("scans a table")
    if re.search(r"TEMP B-TREE|\bSort\b", plan) and not question.why:
        found.append("sorts")
    return found
