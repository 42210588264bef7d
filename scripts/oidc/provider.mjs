// An OpenID provider (npm oidc-provider) on loopback, and the browser of somebody who signs in there. One JSON object as argument:
// client_id, client_secret, redirect_uri. The first line of stdout names the issuer. Then each line of stdin
// {"go": URL, "account": "…", "lie": "…"} is a person who opens URL and signs in as that account; the line of stdout that
// answers it says where the browser was sent back to. "lie" changes what the token endpoint answers then: an ID token that is
// wrong in one point, and signed by the provider's own key, but where the signature is the point.
import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import * as jose from 'jose';
import Provider from 'oidc-provider';

// What the provider has to say beside is not an answer.
console.info = console.error;

const given = JSON.parse(process.argv[2]);
const keys = await jose.generateKeyPair('ES256', { extractable: true });
const other = await jose.generateKeyPair('ES256', { extractable: true });
const jwk = { ...(await jose.exportJWK(keys.privateKey)), kid: 'one', use: 'sig', alg: 'ES256' };

let account = 'somebody';
let lie = '';

const server = createServer((request, response) => handle(request, response));
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: given.client_id,
      client_secret: given.client_secret,
      redirect_uris: [given.redirect_uri],
      grant_types: ['authorization_code'],
      response_types: ['code'],
      token_endpoint_auth_method: 'client_secret_basic',
      id_token_signed_response_alg: 'ES256',
    },
  ],
  jwks: { keys: [jwk] },
  cookies: { keys: ['a key for cookies that live for one test'] },
  pkce: { required: () => true },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
});

async function sign(claims, key = keys.privateKey, kid = 'one') {
  return new jose.SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid }).sign(key);
}

async function wrong(token) {
  const claims = jose.decodeJwt(token);
  const now = Math.floor(Date.now() / 1000);
  switch (lie) {
    case 'issuer':
      return sign({ ...claims, iss: 'https://login.example.org' });
    case 'audience':
      return sign({ ...claims, aud: 'somebody-else' });
    case 'nonce':
      return sign({ ...claims, nonce: 'of-another-sign-in' });
    case 'no nonce':
      return sign({ ...claims, nonce: undefined });
    case 'party':
      return sign({ ...claims, aud: [given.client_id, 'somebody-else'], azp: 'somebody-else' });
    case 'expired':
      return sign({ ...claims, iat: now - 7200, exp: now - 3600 });
    case 'future':
      return sign({ ...claims, iat: now + 3600, exp: now + 7200 });
    case 'no subject':
      return sign({ ...claims, sub: undefined });
    case 'signature':
      return sign(claims, other.privateKey);
    case 'key':
      return sign(claims, other.privateKey, 'two');
    case 'none': {
      const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
      return `${part({ alg: 'none', kid: 'one' })}.${part(claims)}.`;
    }
    case 'hmac': {
      const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
      const text = `${part({ alg: 'HS256', kid: 'one' })}.${part(claims)}`;
      const secret = JSON.stringify(await jose.exportJWK(keys.publicKey));
      return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
    }
    default:
      throw new Error(`no such lie: ${lie}`);
  }
}

provider.use(async (context, next) => {
  await next();
  if (context.path === '/token' && context.body?.id_token && lie) {
    context.body = { ...context.body, id_token: await wrong(context.body.id_token) };
  }
});

const answer = provider.callback();

// Signing in and consenting, without a form to fill in.
async function handle(request, response) {
  if (!request.url.startsWith('/interaction/')) return answer(request, response);
  try {
    const details = await provider.interactionDetails(request, response);
    if (details.prompt.name === 'login') {
      return await provider.interactionFinished(request, response, { login: { accountId: account } });
    }
    const grant = new provider.Grant({ accountId: details.session.accountId, clientId: details.params.client_id });
    grant.addOIDCScope('openid');
    const consent = { grantId: await grant.save() };
    return await provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true });
  } catch (error) {
    response.statusCode = 500;
    return response.end(String(error));
  }
}

// A browser of its own for each journey: follows redirects at the provider, keeps its cookies, stops where it leaves.
async function browse(start) {
  const cookies = new Map();
  let url = start;
  for (let steps = 0; steps < 20; steps += 1) {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const page = await fetch(url, { redirect: 'manual', headers: { cookie } });
    for (const line of page.headers.getSetCookie()) {
      const [pair] = line.split(';');
      const at = pair.indexOf('=');
      cookies.set(pair.slice(0, at), pair.slice(at + 1));
    }
    const location = page.headers.get('location');
    if (!location) throw new Error(`${page.status} at ${url}: ${await page.text()}`);
    url = new URL(location, url).href;
    if (!url.startsWith(issuer)) return url;
  }
  throw new Error('it leads around in circles');
}

console.log(JSON.stringify({ issuer }));
for await (const line of createInterface({ input: process.stdin })) {
  const wanted = JSON.parse(line);
  account = wanted.account;
  lie = wanted.lie ?? '';
  try {
    console.log(JSON.stringify({ back: await browse(wanted.go) }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
server.close();
process.exit(0);
