/// A real installation: the binary, its data in a temporary directory, its ports chosen by the system.
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { inject } from 'vitest';

type Environment = Record<string, string | undefined>;

export const PASSWORD = 'correct horse';

const ROLES = ['GATEWAY', 'IDENTITY', 'TOKEN', 'HOME'];

export class Installation {
  /** Where the gateway listens. */
  url = '';
  readonly #data: string;
  readonly #environment: Environment;
  readonly #children = new Map<string, ChildProcess>();
  #tokenAddress = '';

  private constructor(data: string, environment: Environment) {
    this.#data = data;
    this.#environment = { ...environment };
    for (const role of ROLES) {
      this.#environment[`PORTCULLIS_${role}__LISTEN`] ??= '127.0.0.1:0';
      this.#environment[`PORTCULLIS_${role}__ADMIN_LISTEN`] ??= '127.0.0.1:0';
    }
    this.#environment.PORTCULLIS_DATA_DIR = data;
    this.#environment.PORTCULLIS_IDENTITY__BCRYPT_COST ??= '4';
    this.#environment.PORTCULLIS_GATEWAY__WEB_ROOT = inject('webRoot');
    const path = process.env.PATH;
    if (path !== undefined) this.#environment.PATH = path;
  }

  /** Everything in one process. */
  static async up(environment: Environment = {}): Promise<Installation> {
    const installation = new Installation(await directory(), environment);
    const line = await installation.#start('up', {}, 'stdout', 'Portcullis is ready: ');
    installation.url = line.split(' ')[0] ?? '';
    return installation;
  }

  /** A process a role, on SQLite, so that one can be stopped. */
  static async roles(environment: Environment = {}): Promise<Installation> {
    const data = await directory();
    const secret = () => randomBytes(32).toString('base64');
    const installation = new Installation(data, {
      ...environment,
      PORTCULLIS_IDENTITY__DATABASE_URL: `sqlite://${data}/identity.db`,
      PORTCULLIS_TOKEN__STORE_URL: `sqlite://${data}/token.db`,
      PORTCULLIS_TOKEN__ROOT_SECRET: secret(),
      PORTCULLIS_GATEWAY__CLIENT_SECRET: secret(),
      PORTCULLIS_IDENTITY__CLIENT_SECRET: secret(),
      PORTCULLIS_HOME__CLIENT_SECRET: secret(),
    });
    await installation.startToken();
    const token = { PORTCULLIS_TOKEN__URL: `http://${installation.#tokenAddress}` };
    const [identity, home] = [
      await installation.#role('identity', token),
      await installation.#role('home', token),
    ];
    const gateway = await installation.#role('gateway', {
      ...token,
      PORTCULLIS_GATEWAY__UPSTREAMS__TOKEN__TARGETS: token.PORTCULLIS_TOKEN__URL,
      PORTCULLIS_GATEWAY__UPSTREAMS__IDENTITY__TARGETS: `http://${identity}`,
      PORTCULLIS_GATEWAY__UPSTREAMS__HOME__TARGETS: `http://${home}`,
    });
    installation.url = `http://${gateway}`;
    return installation;
  }

  /** Starts the token service, again on the address that it had. */
  async startToken(): Promise<void> {
    const again = this.#tokenAddress === '' ? {} : { PORTCULLIS_TOKEN__LISTEN: this.#tokenAddress };
    this.#tokenAddress = await this.#role('token', again);
  }

  /** Kills the token service, without a chance to say goodbye. */
  async stopToken(): Promise<void> {
    await this.#kill('token');
  }

  /** Runs a command on the installation's data. */
  async command(args: string[], input = ''): Promise<void> {
    const child = spawn(inject('binary'), args, {
      env: this.#environment,
      stdio: ['pipe', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr.on('data', (data: Buffer) => (said += data.toString()));
    child.stdin.end(input);
    const [code] = (await once(child, 'close')) as [number];
    if (code !== 0) throw new Error(`portcullis ${args.join(' ')} ended with ${code}: ${said}`);
  }

  async createSuperuser(username: string): Promise<void> {
    const args = ['createsuperuser', '--username', username, '--email', `${username}@example.com`];
    await this.command([...args, '--password-stdin'], `${PASSWORD}\n`);
  }

  /** A request without a browser. */
  async fetch(path: string, init?: RequestInit): Promise<Response> {
    return fetch(this.url + path, init);
  }

  /** Makes an account; gives its id. */
  async register(username: string): Promise<string> {
    const answer = await this.fetch('/api/auth/register', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ username, email: `${username}@example.com`, password: PASSWORD }),
    });
    if (answer.status !== 201)
      throw new Error(`registering ${username}: ${answer.status} ${await answer.text()}`);
    return ((await answer.json()) as { user: { id: string } }).user.id;
  }

  async stop(): Promise<void> {
    for (const name of [...this.#children.keys()].reverse()) await this.#kill(name);
    await rm(this.#data, { recursive: true, force: true });
  }

  /** Starts a role, waits until it is ready, and gives the address that it listens on. */
  async #role(role: string, environment: Environment): Promise<string> {
    const line = await this.#start(role, environment, 'stderr', 'listening ');
    const field = (name: string) => new RegExp(`${name}=(\\S+)`).exec(line)?.[1] ?? '';
    const admin = field('admin');
    for (;;) {
      const ready = await fetch(`http://${admin}/readyz`).then(({ ok }) => ok);
      if (ready) return field('address');
      await setTimeout(10);
    }
  }

  /** Starts a command and waits until it says `what`; gives the rest of that line. */
  async #start(
    name: string,
    environment: Environment,
    from: 'stdout' | 'stderr',
    what: string,
  ): Promise<string> {
    const env = { ...this.#environment, ...environment };
    const child = spawn(inject('binary'), [name], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#children.set(name, child);
    child[from === 'stdout' ? 'stderr' : 'stdout'].resume();
    const lines: string[] = [];
    return new Promise((resolve, reject) => {
      createInterface(child[from]).on('line', (line) => {
        lines.push(line);
        const at = line.indexOf(what);
        if (at >= 0) resolve(line.slice(at + what.length));
      });
      child.on('exit', (code) => reject(new Error(`${name} ended with ${code}:\n${lines.join('\n')}`)));
    });
  }

  async #kill(name: string): Promise<void> {
    const child = this.#children.get(name);
    this.#children.delete(name);
    if (child?.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }
}

function directory(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'portcullis-e2e-'));
}
