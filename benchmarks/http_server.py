"""The API with one route more, for comparison: a constant after one look-up by a primary key, without a key.

python -m benchmarks.http_server DSN
"""

from __future__ import annotations

import sys
from typing import Any

from litestar import Request, Response, get

from ledger.engine import Ledger
from ledger.store.database import Database, PgCursor
from service import runtime
from service.http import server
from service.http.access import backend_of
from service.http.app import create_app
from service.http.backend import Backend, Limits
from service.workspace import Workspace


@get("/constant")
async def constant(request: Request[Any, Any, Any], journal: int, member: str) -> Response[Any]:
    """The same bytes whatever the row says."""

    def read(cursor: PgCursor) -> Any:
        cursor.execute("SELECT version FROM balances WHERE journal = %s AND member = %s", (journal, member))
        return cursor.fetchone()

    await backend_of(request).read(read)
    return Response(b'{"constant":true}', media_type="application/json")


def main() -> None:
    """Serve until SIGTERM."""
    runtime.settle()
    database = Database(sys.argv[1])
    ledger = Ledger(database)
    backend = Backend(Workspace(ledger, database), Limits(requests_per_second=1e6, requests_at_once=10**6))
    listening = server.bind("127.0.0.1", 0)
    print(listening.getsockname()[1], flush=True)
    server.serve(create_app(backend, beside=[constant]), backend, listening)
    ledger.close()
    database.close()


if __name__ == "__main__":
    main()
