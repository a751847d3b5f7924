// Bluesky's reference server of accounts (PDS) and its directory of identities (PLC) on loopback, with empty databases.
// It prints their URLs and the password of the administrator.
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { PDS } from '@atproto/pds';
import { Database, PlcServer } from '@did-plc/server';

import { serve } from '../commands.mjs';

const ADMIN = 'password of the administrator';

// Both servers would listen on all addresses by themselves.
async function onLoopback() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

const directory = await onLoopback();
const plc = `http://127.0.0.1:${directory.address().port}`;
directory.on('request', PlcServer.create({ db: Database.mock() }).app);

const data = mkdtempSync(join(tmpdir(), 'postpeer-pds-'));
process.on('exit', () => rmSync(data, { recursive: true, force: true }));
const host = await onLoopback();
const { port } = host.address();
const pds = await PDS.fromEnv({
  adminPassword: ADMIN,
  blobstoreDiskLocation: join(data, 'blobs'),
  dataDirectory: data,
  devMode: true,
  didPlcUrl: plc,
  // The identities name the server as http://localhost and its port.
  hostname: 'localhost',
  inviteRequired: false,
  jwtSecret: 'signs the tokens of a test',
  plcRotationKeyK256PrivateKeyHex: randomBytes(32).toString('hex'),
  port,
  rateLimitsEnabled: false,
  serviceHandleDomains: ['.test'],
});
await pds.ctx.sequencer.start();

// The methods that were called, in order.
const calls = [];
host.on('request', (request) => {
  const { pathname } = new URL(request.url, 'http://localhost');
  if (pathname.startsWith('/xrpc/')) calls.push(pathname.slice('/xrpc/'.length));
});
host.on('request', pds.app);

await serve(
  { url: `http://127.0.0.1:${port}`, named: `http://localhost:${port}`, plc, admin: ADMIN },
  {
    // The methods that were called since the last time.
    calls: () => calls.splice(0),
    // The open sessions of an account: each one's app password, or null where the account's own password began it.
    sessions: async ({ did }) => {
      const { db } = pds.ctx.accountManager.db;
      const rows = await db.selectFrom('refresh_token').selectAll().where('did', '=', did).execute();
      return rows.filter((row) => row.nextId === null).map((row) => row.appPasswordName);
    },
  },
);
