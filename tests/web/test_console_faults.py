"""What goes wrong around the console: the database, and read models that are behind."""

from __future__ import annotations

from ledger.store.database import Database
from tests.faults.proxy import Proxy
from tests.http.conftest import create_programmes
from tests.http.serving import Api, Server, a_key, enrolled
from tests.waiting import wait_for
from tests.web.browsing import Page, Visitor
from tests.web.story import BASE


def test_the_database_goes_and_comes_back(database: Database, database_dsn: str) -> None:
    key = a_key(database, "admin", None)
    with Proxy(database_dsn) as proxy, Server(proxy.dsn) as running, Visitor(running.url, "zh") as visitor:
        create_programmes(running.url, key)
        visitor.sign_in(key)
        visitor.get(BASE)
        proxy.cut_all(refuse=True)
        page = visitor.get(BASE, status=503)
        assert page.headers["Retry-After"] == "1"
        assert page.headers["Content-Security-Policy"]
        assert "暂时不可用" in page.text
        assert "无法连接数据库：可以再次发送同一请求。" in page.text
        assert visitor.get("/sign-in", status=503).status == 503
        proxy.allow()
        wait_for(lambda: visitor.get(BASE, status=None).status == 200)


def test_a_page_says_how_far_it_is_behind(database: Database, database_dsn: str) -> None:
    key = a_key(database, "admin", None)
    with Server(database_dsn) as running, Visitor(running.url) as visitor:  # nobody keeps its read models up
        create_programmes(running.url, key)
        api = Api(running.url, key)
        member = enrolled(api)
        api.close()
        visitor.sign_in(key)
        assert "3 recorded events are not in these figures yet." in visitor.get(BASE).text
        page: Page = visitor.get(f"{BASE}/members/{member}", status=404)
        assert "nothing of it is in the read models yet" in page.text
        assert visitor.get(f"{BASE}/members/{member}/events").text.count("Member enrolled") == 1
        assert visitor.get(f"{BASE}/members/{member}?as_of=2027-01-01T00:00").pairs["Balance"] == "0"
