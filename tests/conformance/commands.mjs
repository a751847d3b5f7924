// The control channel of a reference server. The test writes one command a line to standard input and reads one answer
// a line from standard output. The server ends when its standard input does, so that it never outlives the test.
import { createInterface } from 'node:readline';

// Standard output holds answers only.
console.info = console.log = console.error;

const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

// Says `ready`, then carries out commands: {"command": name, "with": {…}} is answered by {"value": …} or {"error": …}.
export async function serve(ready, commands) {
  say(ready);
  for await (const line of createInterface({ input: process.stdin })) {
    const { command, with: options } = JSON.parse(line);
    try {
      say({ value: (await commands[command](options)) ?? null });
    } catch (error) {
      say({ error: `${command}: ${error.stack ?? error}` });
    }
  }
  process.exit(0);
}
