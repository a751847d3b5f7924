// Two certified OpenID Providers (`oidc-provider`) on loopback, with a client for each way that a client may be.
// The first argument is the broker's callback URL. Prints their issuers, and the keys and the secret of the clients.
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';

import Provider from 'oidc-provider';

import { serve } from '../commands.mjs';

const [, , redirectUri] = process.argv;
const SECRET = 'secret of a client, with : % + and /';
// Seconds that an access token lasts.
const LIFE = 600;
const PEOPLE = {
  ada: { name: 'Ada Marlow', preferred_username: 'ada', picture: 'https://cdn.example.com/ada.png' },
};

const KEYS = {
  RS256: ['rsa', { modulusLength: 2048 }],
  PS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  ES384: ['ec', { namedCurve: 'P-384' }],
  EdDSA: ['ed25519', {}],
};
const ALGORITHMS = Object.keys(KEYS);
const pair = (alg) => {
  const { privateKey, publicKey } = generateKeyPairSync(...KEYS[alg]);
  const jwk = (key) => ({ ...key.export({ format: 'jwk' }), alg, use: 'sig', kid: `key ${alg}` });
  return { pem: privateKey.export({ type: 'pkcs8', format: 'pem' }), jwk: jwk(publicKey), own: jwk(privateKey) };
};

// Clients sign with keys of their own.
const pems = {};
const signing = ALGORITHMS.map((alg) => {
  const { pem, jwk } = pair(alg);
  pems[alg] = pem;
  return { client_id: `jwt-${alg}`, token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [jwk] } };
});
// For these the provider signs in different ways.
const signed = ALGORITHMS.map((alg) => (
  { client_id: `signed-${alg}`, client_secret: SECRET, id_token_signed_response_alg: alg }
));

const clients = [
  { client_id: 'basic', client_secret: SECRET, token_endpoint_auth_method: 'client_secret_basic' },
  { client_id: 'post', client_secret: SECRET, token_endpoint_auth_method: 'client_secret_post' },
  { client_id: 'public', token_endpoint_auth_method: 'none' },
  { client_id: 'pushed', client_secret: SECRET, require_pushed_authorization_requests: true },
  ...signing,
  ...signed,
].map((client) => ({
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  redirect_uris: [redirectUri],
  ...client,
}));

// Each request with what the provider made of it, each refusal with its reason, the clients whose grants were revoked.
const requests = [];
const refusals = [];
const ended = [];
// Who gave each grant.
const grants = new Map();

async function start(pushedAuthorizationRequests) {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const provider = new Provider(`http://127.0.0.1:${server.address().port}`, {
    clients,
    claims: { openid: ['sub'], profile: ['name', 'preferred_username', 'picture'] },
    clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none'],
    cookies: { keys: ['signs the cookies of a test'] },
    enabledJWA: { clientAuthSigningAlgValues: ALGORITHMS, idTokenSigningAlgValues: ALGORITHMS },
    features: { devInteractions: { enabled: true }, pushedAuthorizationRequests, revocation: { enabled: true } },
    findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, ...PEOPLE[sub] }) }),
    jwks: { keys: ALGORITHMS.map((alg) => pair(alg).own) },
    pkce: { required: () => true },
    // A spent refresh token that comes again ends the whole grant.
    rotateRefreshToken: true,
    ttl: { AccessToken: LIFE, Grant: 86400, IdToken: 600, Interaction: 600, RefreshToken: 86400, Session: 600 },
  });
  provider.use(async (ctx, next) => {
    await next();
    const { route, client, params } = ctx.oidc ?? {};
    const scheme = ctx.get('authorization').split(' ')[0].toLowerCase();
    requests.push({ route, client: client?.clientId, status: ctx.status, scheme, params: { ...params } });
  });
  for (const step of ['authorization', 'grant', 'pushed_authorization_request', 'revocation', 'userinfo']) {
    provider.on(`${step}.error`, (_, error) => refusals.push(`${step}: ${error.message}: ${error.error_description}`));
  }
  provider.on('server_error', (_, error) => refusals.push(`failed: ${error.stack}`));
  provider.on('grant.revoked', (ctx) => ended.push(ctx.oidc.client.clientId));
  provider.on('grant.saved', (grant) => grants.set(grant.jti, grant.accountId));
  server.on('request', provider.callback());
  return provider;
}

const provider = await start({ enabled: true });
// The other one says in its metadata that it wants every request pushed.
const strict = await start({ enabled: true, requirePushedAuthorizationRequests: true });

await serve(
  { issuer: provider.issuer, strict: strict.issuer, secret: SECRET, life: LIFE, pems, algorithms: ALGORITHMS },
  {
    // What happened since the last time.
    events: () => ({ requests: requests.splice(0), refusals: refusals.splice(0), ended: ended.splice(0) }),
    // Ends all consents of a person, as they do in their settings.
    end: async ({ sub }) => {
      for (const [grantId, accountId] of grants) {
        if (accountId !== sub) continue;
        await Promise.all([provider.AccessToken, provider.RefreshToken].map((kind) => kind.revokeByGrantId(grantId)));
        await (await provider.Grant.find(grantId))?.destroy();
      }
    },
    // True while a provider accepts this access token.
    accepts: async ({ token }) => {
      const found = await Promise.all([provider, strict].map(({ AccessToken }) => AccessToken.find(token)));
      return found.some(Boolean);
    },
  },
);
