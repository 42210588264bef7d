"""Each OpenID flow, done by Authlib and requests; the pages are filled in as a browser would."""
import base64, hashlib, hmac, html, json, re, struct, sys, time
from urllib.parse import parse_qs, urlsplit

import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.jose import JsonWebKey, JsonWebToken

given = json.loads(sys.argv[1])
url, password = given["url"], given["password"]
used = set()


def totp(secret):
    """RFC 6238, written here once more: a code is good once, so wait for the next."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    # A code of the next step is taken as well (clocks differ), which spares most of the waiting.
    while True:
        now = int(time.time()) // 30
        for step in (now, now + 1):
            if step not in used and (not used or step > max(used)):
                used.add(step)
                digest = hmac.new(key, struct.pack(">Q", step), hashlib.sha1).digest()
                at = digest[-1] & 15
                return f"{(struct.unpack('>I', digest[at:at + 4])[0] & 0x7fffffff) % 1000000:06}"
        time.sleep(1)


def post(path, body, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = requests.post(f"{url}/api/v1{path}", json=body, headers=headers, timeout=20)
    answer.raise_for_status()
    return answer.json()


begun = post("/invitations/begin", {"token": given["invitation"]})
secret = begun["totp_secret"]
owner = post("/invitations/accept", {"ceremony": begun["ceremony"], "login": "olga@example.org", "name": "Olga", "password": password, "totp": totp(secret)})
wiki = post("/oauth-clients", {"name": "Wiki", "confidential": True, "redirect_uris": ["https://wiki.example/cb"]}, owner["session"]["token"])

meta = requests.get(f"{url}/.well-known/openid-configuration", timeout=20).json()
assert meta["issuer"] == url
keys = JsonWebKey.import_key_set(requests.get(meta["jwks_uri"], timeout=20).json())
browser = requests.Session()


def fields(page):
    pairs = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page.text)
    return {name: html.unescape(value) for name, value in pairs}


def submit(path, form):
    return browser.post(url + path, data=form, headers={"Sec-Fetch-Site": "same-origin"}, allow_redirects=False, timeout=20)


def sign_in(page):
    second = submit("/oauth/sign-in", fields(page) | {"organisation": "default", "login": "olga@example.org", "password": password})
    done = submit("/oauth/sign-in", fields(second) | {"code": totp(secret)})
    assert done.status_code == 303, done.text
    return browser.get(url + done.headers["location"], timeout=20)


def authorize(location):
    page = browser.get(location, timeout=20)
    if 'name="password"' in page.text:
        page = sign_in(page)
    sent = submit("/oauth/authorize", fields(page) | {"answer": "allow"})
    assert sent.status_code == 303, sent.text
    return sent.headers["location"]


def check(id_token, audience, nonce):
    options = {"iss": {"essential": True, "value": url}, "aud": {"essential": True, "value": audience}, "nonce": {"value": nonce}}
    claims = JsonWebToken(["ES256"]).decode(id_token, keys, claims_options=options)
    claims.validate()
    assert claims["sub"] == owner["person"]["id"]


verifier = "a-verifier-of-forty-three-characters-or-more-than-that"
callback = "http://127.0.0.1:40999/callback"
cli = OAuth2Session("hafen-cli", scope="openid profile email offline_access api", redirect_uri=callback, code_challenge_method="S256", token_endpoint_auth_method="none")
location, state = cli.create_authorization_url(meta["authorization_endpoint"], code_verifier=verifier, nonce="n1")
answer = authorize(location)
token = cli.fetch_token(meta["token_endpoint"], authorization_response=answer, code_verifier=verifier, state=state)
check(token["id_token"], "hafen-cli", "n1")
info = cli.get(meta["userinfo_endpoint"], timeout=20).json()
assert info["email"] == "olga@example.org", info
assert cli.get(f"{url}/api/v1/whoami", timeout=20).json()["id"] == owner["person"]["id"]
print("code flow ok")
print("id token ok")

old = token["refresh_token"]
fresh = cli.refresh_token(meta["token_endpoint"], refresh_token=old)
assert fresh["refresh_token"] != old
print("refresh ok")
again = requests.post(meta["token_endpoint"], data={"grant_type": "refresh_token", "client_id": "hafen-cli", "refresh_token": old}, timeout=20)
assert again.status_code == 400 and again.json()["error"] == "invalid_grant", again.text
ended = requests.get(f"{url}/api/v1/whoami", headers={"Authorization": f"Bearer {fresh['access_token']}"}, timeout=20)
assert ended.status_code == 401, ended.text
print("reuse refused ok")

begun = requests.post(meta["device_authorization_endpoint"], data={"client_id": "hafen-cli", "scope": "openid api"}, timeout=20).json()
page = browser.get(begun["verification_uri_complete"], timeout=20)
connected = submit("/oauth/device", fields(page) | {"answer": "allow"})
assert connected.status_code == 200, connected.text
device = OAuth2Session("hafen-cli", token_endpoint_auth_method="none")
token = device.fetch_token(meta["token_endpoint"], grant_type="urn:ietf:params:oauth:grant-type:device_code", device_code=begun["device_code"])
assert device.get(f"{url}/api/v1/whoami", timeout=20).json()["name"] == "Olga"
print("device flow ok")

client = OAuth2Session(wiki["client"]["id"], wiki["secret"], scope="openid profile", redirect_uri="https://wiki.example/cb", code_challenge_method="S256", token_endpoint_auth_method="client_secret_basic")
location, state = client.create_authorization_url(meta["authorization_endpoint"], code_verifier=verifier, nonce="n2")
answer = authorize(location)
assert parse_qs(urlsplit(answer).query)["iss"] == [url]
token = client.fetch_token(meta["token_endpoint"], authorization_response=answer, code_verifier=verifier, state=state)
check(token["id_token"], wiki["client"]["id"], "n2")
active = client.introspect_token(meta["introspection_endpoint"], token=token["access_token"]).json()
assert active["active"] and active["client_id"] == wiki["client"]["id"], active
print("introspection ok")
client.revoke_token(meta["revocation_endpoint"], token=token["access_token"])
assert client.introspect_token(meta["introspection_endpoint"], token=token["access_token"]).json() == {"active": False}
print("revocation ok")
