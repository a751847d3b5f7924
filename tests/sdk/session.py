"""A session of PostPeer's own Python SDK against the built binary: nothing is changed but base URL and key.

Needs the package `postpeer` (0.1.4): python3 -m venv .venv && .venv/bin/pip install postpeer==0.1.4
Run: .venv/bin/python tests/sdk/session.py [path to the binary]
"""

import asyncio
import inspect
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from demo import choose, demo, fetch, query, walk  # noqa: E402

try:
    from postpeer import AsyncPostPeer, PostPeer
    from postpeer import errors
except ImportError:
    sys.exit("PostPeer's SDK is missing: python3 -m venv .venv && .venv/bin/pip install postpeer==0.1.4")

PLATFORMS = ["twitter", "youtube", "tiktok", "threads", "instagram", "pinterest", "linkedin", "facebook", "googlebusiness"]
# Their consents cover several accounts. In the sandbox, basil has one at each and ada has three.
SEVERAL = ["linkedin", "facebook", "googlebusiness"]
# Attempts at a Bluesky account are counted, so each session has its own: handle, app password, name.
BLUESKY = {
    "sync": ("ada.test", "mara-low2-ada3-sky4", "Ada Marlow"),
    "async": ("cleo.test", "cleo-fac2-tor3-sky6", "Cleo <b>Factor</b> & Söhne 🦊"),
}
CHOICE = {"id", "type", "platformUserId", "displayName", "username", "imageUrl"}
BACK = "https://app.example/connected?nonce=%2F1"
ran = 0


def check(what, condition):
    global ran
    ran += 1
    if not condition:
        raise AssertionError(what)


class Awaited:
    """The synchronous client under the face of the asynchronous one, so that one session runs on both."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        value = getattr(self.inner, name)
        if not callable(value):
            return Awaited(value)

        async def call(*args, **kwargs):
            result = value(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

        return call


async def fails(error, code, call):
    try:
        await call
    except error as raised:
        check(f"{error.__name__} carries {code}, not {raised.code}", raised.code == code)
        check("an error carries a request id", bool(raised.request_id))
        check("an error carries a sentence", len(raised.message) > 10)
        return
    raise AssertionError(f"no {error.__name__} ({code})")


def check_tokens(platform, detail):
    """What an integration tells of its tokens."""
    check(f"{platform}: token status", detail["tokenStatus"] == {
        "valid": True, "autoRefreshes": True, "reconnectRequired": False, "reason": None})
    check(f"{platform}: scopes", len(detail["scopes"]) > 0 and all(detail["scopes"]))
    # A Page's token does not expire.
    check(f"{platform}: expiry", (detail["accessTokenExpiresAt"] is None) == (platform == "facebook"))
    about = ("Status", "ExpiresAt", "Reads")
    check(f"{platform}: no token is told", not any("oken" in key and not key.endswith(about) for key in detail))
    check(f"{platform}: health", detail["health"]["state"] == "ok" and detail["health"]["lastError"] is None)


def check_token_of(platform, base, key, integration_id):
    """The token itself, which the SDK has no call for."""
    status, headers, text = fetch(f"{base}/v1/connect/integrations/{integration_id}/token?minSeconds=60", headers={"x-access-key": key})
    told = json.loads(text)
    check(f"{platform}: a token ({status})", status == 200 and headers["Cache-Control"] == "no-store")
    check(f"{platform}: {sorted(told)}", told["platform"] == platform and len(told["accessToken"]) > 10)
    check(f"{platform}: never the refresh token", "efresh" not in text)


async def several(client, base, name):
    """Consents that cover several accounts, of which the person chooses some."""
    profile = (await client.profiles.create(f"Chosen {name}")).profile

    async def consented(platform, headless=True):
        url = (await client.connect.get_oauth_url(
            platform, redirect_uri=BACK, profile_id=profile.id, headless=headless)).url
        status, headers, page = walk(url, account="ada")
        check(f"{platform}: {status} {page[:300]}", status == 303)
        return headers["Location"]

    async def token_of(platform):
        back = await consented(platform)
        check(f"{platform}: the caller's query stays", back.startswith(BACK + "&"))
        told = query(back)
        token = told.pop("selectionToken")
        check(f"{platform}: {told}", told == {"nonce": "/1", "status": "selection_required", "platform": platform})
        return token

    async def listed(platform):
        return (await client.connect.integrations.list(platform=platform, profile_id=profile.id)).integrations

    # Facebook: two of three Pages
    token = await token_of("facebook")
    status, _, text = fetch(f"{base}/v1/connect/facebook/selection/{token}")
    raw = json.loads(text)
    check("facebook: a choice has these members", status == 200 and raw.keys() == {
        "success", "platform", "expiresInSeconds", "accounts", "unusable", "routes", "scopes", "missingScopes"})
    check("facebook: an account has these members", all(account.keys() == CHOICE for account in raw["accounts"]))
    offered = await client.connect.facebook.get_selection(token)
    check("facebook: the choice", offered.success and offered.platform == "facebook")
    check("facebook: the time", 0 < offered.expires_in_seconds <= 600)
    check("facebook: three Pages", [(page.id, page.type, page.display_name, page.username) for page in offered.accounts] == [
        ("page:101000000000001", "page", "Marlow & Daughters", "marlowdaughters"),
        ("page:101000000000002", "page", "Harbour Lights", None),
        ("page:101000000000003", "page", "Riverside Market", "riverside.market")])
    check("facebook: ids and pictures", all(
        page.id == f"page:{page.platform_user_id}" and page.image_url for page in offered.accounts))
    check("facebook: nothing is connected yet", await listed("facebook") == [])

    first, second, third = [page.id for page in offered.accounts]
    choose_pages = client.connect.facebook.submit_selection
    await fails(errors.BadRequestError, "account_not_offered", choose_pages(token, ["page:1"]))
    await fails(errors.NotFoundError, "selection_not_found", client.connect.linkedin.get_selection(token))
    done = await choose_pages(token, [first, third])
    check("facebook: done", done.success and done.platform == "facebook" and done.message == "2 accounts connected.")
    ids = [page.id for page in done.integrations]
    check("facebook: where to go", done.redirect_uri.startswith(BACK + "&") and query(done.redirect_uri) == {
        "nonce": "/1", "status": "success", "platform": "facebook", "integrationId": ",".join(ids), "profileId": profile.id})
    check("facebook: sent again, answered again", await choose_pages(token, [third, first]) == done)
    await fails(errors.NotFoundError, "selection_not_found", choose_pages(token, [first, second]))
    await fails(errors.NotFoundError, "selection_not_found", client.connect.facebook.get_selection(token))

    pages = {page.id: page for page in await listed("facebook")}
    check("facebook: both are listed, and no other", sorted(pages) == sorted(ids))
    check("facebook: listed as answered", [pages[i].model_dump(mode="json") for i in ids] == [
        page.model_dump(mode="json") for page in done.integrations])
    check("facebook: Page data", [(
        page.platform_user_id, page.username, page.display_name, str(page.profile_url), page.platform_metadata, page.profile_id
    ) for page in done.integrations] == [
        ("101000000000001", "marlowdaughters", "Marlow & Daughters", "https://www.facebook.com/marlowdaughters",
         {"category": "Brand", "type": "page"}, profile.id),
        ("101000000000003", "riverside.market", "Riverside Market", "https://www.facebook.com/riverside.market",
         {"category": "Brand", "type": "page"}, profile.id)])
    for i in ids:
        check_tokens("facebook", (await client.connect.integrations.get(i)).integration)
    again = await choose_pages(await token_of("facebook"), [first, third])
    check("facebook: reconnecting keeps the ids", [page.id for page in again.integrations] == ids)
    check("facebook: one goes", (await client.connect.integrations.disconnect(ids[0])).success)
    check("facebook: the other stays", [page.id for page in await listed("facebook")] == ids[1:])
    check_tokens("facebook", (await client.connect.integrations.get(ids[1])).integration)

    # LinkedIn: the person and an organization
    token = await token_of("linkedin")
    offered = await client.connect.linkedin.get_selection(token)
    check("linkedin: the choice", [(a.id, a.type, a.display_name, a.username, a.image_url is None) for a in offered.accounts] == [
        ("person:782bbtaQad", "person", "Ada Marlow", None, False),
        ("organization:2414183", "organization", "Marlow & Daughters", "marlow-daughters", False),
        ("organization:2414184", "organization", "Harbour <b>Lights</b> 🦊", "harbour", True)])
    done = await client.connect.linkedin.submit_selection(token, [offered.accounts[0].id, offered.accounts[2].id])
    check("linkedin: done", [(a.platform_user_id, a.display_name) for a in done.integrations] == [
        ("782bbtaQad", "Ada Marlow"), ("2414184", "Harbour <b>Lights</b> 🦊")])
    check("linkedin: both are listed", {a.id for a in await listed("linkedin")} == {a.id for a in done.integrations})
    for integration in done.integrations:
        check_tokens("linkedin", (await client.connect.integrations.get(integration.id)).integration)

    # Google Business Profile, for which the SDK has no method: the hosted page
    page_url = await consented("googlebusiness", headless=False)
    check("googlebusiness: the hosted page", page_url.startswith(f"{base}/connect/selection/"))
    shops = ["Marlow & Daughters, Bakery", "Marlow & Daughters, Market"]
    status, headers, page = choose(page_url, shops)
    check(f"googlebusiness: {status} {page[:300]}", status == 303 and headers["Location"].startswith(BACK + "&"))
    told = query(headers["Location"])
    check("googlebusiness: connected", told["status"] == "success" and told["profileId"] == profile.id)
    found = {location.id: location.display_name for location in await listed("googlebusiness")}
    check("googlebusiness: listed", [found.get(i) for i in told["integrationId"].split(",")] == shops and len(found) == 2)
    status, headers, page = choose(await consented("googlebusiness", headless=False), [], action="cancel")
    check("googlebusiness: cancelled", status == 303 and query(headers["Location"])["status"] == "cancelled")

    for integration in (await client.connect.integrations.list(profile_id=profile.id, limit=100)).integrations:
        check("disconnected", (await client.connect.integrations.disconnect(integration.id)).success)
    check("the profile is deleted", (await client.profiles.delete(profile.id)).success)


async def bluesky(client, name, listed, profile_id):
    """Bluesky has no redirect; the SDK's method gives nothing back."""
    handle, password, display_name = BLUESKY[name]
    check("bluesky is ready", listed.get("bluesky") == "prod")
    connect = client.connect.bluesky
    check("bluesky: connected", await connect(handle, password, redirect_uri=BACK, profile_id=profile_id) is None)
    found = (await client.connect.integrations.list(platform="bluesky", profile_id=profile_id)).integrations
    check("bluesky: listed", [(i.username, i.display_name) for i in found] == [(f"@{handle}", display_name)])
    check("bluesky: once more", await connect(f"@{handle}", password, profile_id=profile_id) is None)
    again = (await client.connect.integrations.list(platform="bluesky", profile_id=profile_id)).integrations
    check("bluesky: reconnecting keeps the id", [i.id for i in again] == [i.id for i in found])
    await fails(errors.AuthenticationError, "bluesky_credentials_rejected", connect(handle, "wrong"))
    # The account's own password: where it is accepted, and where the server wants a code from a mail for it.
    await fails(errors.BadRequestError, "app_password_required", connect(handle, f"main password of {display_name.split()[0]}"))
    await fails(errors.BadRequestError, "invalid_identifier", connect("ada", "x"))
    await fails(errors.APIError, "identity_unresolved", connect(f"nobody-{name}.test", "x"))
    check("bluesky: disconnected", (await client.connect.integrations.disconnect(found[0].id)).success)


async def session(client, stranger, base, key, name):
    check("health", (await client.health.check()).ok)
    check("the key is known", (await client.health.verify_access_key()).ok)
    await fails(errors.AuthenticationError, "invalid_access_key", stranger.health.verify_access_key())

    listed = {platform.name.value: platform.status.value for platform in (await client.platforms.list()).platforms}
    for platform in PLATFORMS:
        check(f"{platform} is ready", listed.get(platform) == "prod")

    # Profiles
    profile = (await client.profiles.create(f"Acme {name}", description="Two brands")).profile
    other = (await client.profiles.create(f"Other {name}")).profile
    check("ids tell their kind", profile.id.startswith("prof_"))
    check("a profile is found by part of its name", (await client.profiles.list(name=f"acme {name}".upper())).total == 1)
    check("pages", len((await client.profiles.list(page=1, limit=1)).profiles) == 1)
    check("a profile is read back", (await client.profiles.get(profile.id)).profile.description == "Two brands")
    renamed = (await client.profiles.update(profile.id, name=f"Acme & Söhne {name}")).profile
    check("a profile is renamed", renamed.name == f"Acme & Söhne {name}" and renamed.description == "Two brands")
    await fails(errors.NotFoundError, "profile_not_found", client.profiles.get("prof_0"))
    await fails(errors.NotFoundError, "profile_not_found", client.profiles.update(profile.id[:-1] + "z", name="x"))

    # Every platform, through consent to an integration; where there is one account, there is no choice to make
    for platform in PLATFORMS:
        only = {"account": "basil"} if platform in SEVERAL else {}
        asked = {"redirect_uri": BACK, "profile_id": profile.id, "headless": platform in SEVERAL}
        status, headers, page = walk((await client.connect.get_oauth_url(platform, **asked)).url, **only)
        check(f"{platform}: {status} {page[:300]}", status == 303)
        back = headers["Location"]
        check(f"{platform}: the caller's query stays", back.startswith(BACK + "&"))
        told = query(back)
        check(f"{platform}: {told}", told["status"] == "success" and told["platform"] == platform)
        check(f"{platform}: the profile comes back", told["profileId"] == profile.id)

        detail = (await client.connect.integrations.get(told["integrationId"])).integration
        check(f"{platform}: detail", detail["platform"] == platform and detail["profileId"] == profile.id)
        check_tokens(platform, detail)
        check_token_of(platform, base, key, told["integrationId"])

        told_again = query(walk((await client.connect.get_oauth_url(platform, **asked)).url, **only)[1]["Location"])
        check(f"{platform}: reconnecting keeps the id", told_again["integrationId"] == told["integrationId"])

    await several(client, base, name)
    await bluesky(client, name, listed, other.id)

    # A person who says no
    url = (await client.connect.get_oauth_url("twitter", redirect_uri=BACK, cancel_redirect_uri="https://app.example/no")).url
    told = query(walk(url, decision="deny")[1]["Location"])
    check(f"denied: {told}", told == {"status": "cancelled", "platform": "twitter", "error": "access_denied"})

    # Integrations
    mine = await client.connect.integrations.list(profile_id=profile.id, limit=100)
    check("all are listed", mine.total == len(PLATFORMS) == len(mine.integrations))
    check("by platform", (await client.connect.integrations.list(platform="tiktok", profile_id=profile.id)).total == 1)
    check("oldest first", [i.platform.value for i in (await client.connect.integrations.list(
        profile_id=profile.id, sort="asc", limit=2)).integrations] == PLATFORMS[:2])
    check("by a whole id", (await client.connect.integrations.list(q=mine.integrations[0].id)).total == 1)
    check("% is a character", (await client.connect.integrations.list(q="%")).total == 0)
    check("the profile counts them", (await client.profiles.get(profile.id)).profile.integration_count == len(PLATFORMS))
    one = mine.integrations[0]
    check("moved", (await client.connect.integrations.move(one.id, other.id)).integration.profile_id == other.id)
    check("moved out", (await client.connect.integrations.move(one.id, None)).integration.profile_id is None)
    check("without a profile", one.id in [i.id for i in (await client.connect.integrations.list(profile_id="null")).integrations])
    await fails(errors.NotFoundError, "profile_not_found", client.connect.integrations.move(one.id, "prof_0"))
    await fails(errors.NotFoundError, "integration_not_found", client.connect.integrations.get("int_0"))

    # An app of one's own
    client_id = f"own-client-{name}"
    app = (await client.apps.create("pinterest", f"Own app {name}", client_id, "own-secret", image_url="https://app.example/icon.png")).app
    check("an app is made", app.id.startswith("app_") and app.client_id == client_id and app.integration_count == 0)
    check("the secret is not told", "own-secret" not in app.model_dump_json())
    await fails(errors.ConflictError, "duplicate_app", client.apps.create("pinterest", "Twice", client_id, "x"))
    await fails(errors.BadRequestError, "invalid_request", client.apps.create("bluesky", "No", "x", "y"))
    check("an app is read back", (await client.apps.get(app.id)).app.name == f"Own app {name}")
    check("apps are listed", (await client.apps.list(platform="pinterest", name=f"own APP {name}")).total == 1)
    check("an app is renamed", (await client.apps.update(app.id, name="Renamed", client_secret="rotated")).app.name == "Renamed")
    url = (await client.connect.get_oauth_url("pinterest", app_id=app.id)).url
    check("its client id is in the URL", query(url)["client_id"] == client_id)
    await fails(errors.BadRequestError, "app_platform_mismatch", client.connect.get_oauth_url("twitter", app_id=app.id))
    await fails(errors.NotFoundError, "app_not_found", client.connect.get_oauth_url("twitter", app_id="app_0"))
    check("an app is deleted", (await client.apps.delete(app.id)).success)
    await fails(errors.NotFoundError, "app_not_found", client.apps.get(app.id))

    # Refusals
    await fails(errors.PermissionDeniedError, "platform_not_available", client.connect.get_oauth_url("bluesky"))
    await fails(errors.NotFoundError, "profile_not_found", client.connect.get_oauth_url("twitter", profile_id="prof_0"))
    await fails(errors.BadRequestError, "redirect_not_allowed", client.connect.get_oauth_url("twitter", redirect_uri="http://evil.example/"))

    # Goodbye
    for integration in mine.integrations:
        gone = await client.connect.integrations.disconnect(integration.id)
        check(f"{integration.platform.value}: disconnected", gone.success and gone.message)
    await fails(errors.NotFoundError, "integration_not_found", client.connect.integrations.disconnect(one.id))
    check("nothing is left", (await client.connect.integrations.list(profile_id=profile.id)).total == 0)
    check("a profile is deleted", (await client.profiles.delete(profile.id)).success)
    await fails(errors.NotFoundError, "profile_not_found", client.profiles.get(profile.id))


async def main():
    with demo() as running:
        options = {"base_url": running.url, "max_retries": 0}
        with PostPeer(running.key, **options) as client, PostPeer("ppk_" + "0" * 49, **options) as stranger:
            await session(Awaited(client), Awaited(stranger), running.url, running.key, "sync")
        async with AsyncPostPeer(running.key, **options) as client, AsyncPostPeer("ppk_" + "0" * 49, **options) as stranger:
            await session(client, stranger, running.url, running.key, "async")
    print(f"PostPeer's Python SDK: {ran} checks hold, synchronous and asynchronous")


asyncio.run(main())
