// The certified OpenID Provider `oidc-provider` on loopback, with one client for each way that a client may be.
// Its first argument is the callback URL of the broker. It prints its issuer, and keys and secrets of its clients.
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
  ES256: ['ec', { namedCurve: 'P-256' }],
  EdDSA: ['ed25519', {}],
};
const pems = {};
const asymmetric = Object.entries(KEYS).map(([alg, [kind, options]]) => {
  const { privateKey, publicKey } = generateKeyPairSync(kind, options);
  pems[alg] = privateKey.export({ type: 'pkcs8', format: 'pem' });
  const jwk = { ...publicKey.export({ format: 'jwk' }), alg, use: 'sig', kid: `key ${alg}` };
  return { client_id: `jwt-${alg}`, token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [jwk] } };
});

const clients = [
  { client_id: 'basic', client_secret: SECRET, token_endpoint_auth_method: 'client_secret_basic' },
  { client_id: 'post', client_secret: SECRET, token_endpoint_auth_method: 'client_secret_post' },
  { client_id: 'public', token_endpoint_auth_method: 'none' },
  { client_id: 'pushed', client_secret: SECRET, require_pushed_authorization_requests: true },
  ...asymmetric,
].map((client) => ({
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  redirect_uris: [redirectUri],
  ...client,
}));

const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients,
  claims: { openid: ['sub'], profile: ['name', 'preferred_username', 'picture'] },
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none'],
  cookies: { keys: ['signs the cookies of a test'] },
  enabledJWA: { clientAuthSigningAlgValues: Object.keys(KEYS) },
  features: {
    devInteractions: { enabled: true },
    pushedAuthorizationRequests: { enabled: true },
    revocation: { enabled: true },
  },
  findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, ...PEOPLE[sub] }) }),
  pkce: { required: () => true },
  // A spent refresh token that comes again ends the whole grant.
  rotateRefreshToken: true,
  ttl: { AccessToken: LIFE, Grant: 86400, IdToken: 600, Interaction: 600, RefreshToken: 86400, Session: 600 },
});

// Each request with what the provider made of it, and each refusal with its reason.
const requests = [];
provider.use(async (ctx, next) => {
  await next();
  const { route, client, params } = ctx.oidc ?? {};
  const scheme = ctx.get('authorization').split(' ')[0].toLowerCase();
  requests.push({ route, client: client?.clientId, status: ctx.status, scheme, params: params ? { ...params } : {} });
});
const refusals = [];
for (const event of ['authorization', 'grant', 'pushed_authorization_request', 'revocation', 'server', 'userinfo']) {
  const name = event === 'server' ? 'server_error' : `${event}.error`;
  provider.on(name, (_, error) => refusals.push(`${name}: ${error.message} (${error.error_description ?? ''})`));
}
const grants = new Map();
provider.on('grant.saved', (grant) => grants.set(grant.jti, grant.accountId));
const ended = [];
provider.on('grant.revoked', (ctx) => ended.push(ctx.oidc.client.clientId));

server.on('request', provider.callback());

await serve(
  { issuer, secret: SECRET, life: LIFE, pems },
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
    // True while the provider accepts this access token.
    accepts: async ({ token }) => (await provider.AccessToken.find(token)) !== undefined,
  },
);
