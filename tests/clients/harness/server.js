// Starts the built program as an administrator would: with a configuration file, from outside.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const START_LIMIT_MS = 30_000;
const STOP_LIMIT_MS = 15_000;

/**
 * Starts a server with empty data.
 *
 * `STOA_TEST_PROGRAM` names the program; `STOA_TEST_DATABASE` an empty PostgreSQL database, without
 * which the server keeps its data in SQLite.
 */
export async function startServer() {
    const program = process.env.STOA_TEST_PROGRAM;
    if (!program) throw new Error("STOA_TEST_PROGRAM has to name the program under test");
    const folder = await mkdtemp(join(tmpdir(), "stoa-clients-"));
    await mkdir(join(folder, "data"));
    const port = await freePort();
    const database = process.env.STOA_TEST_DATABASE ?? `sqlite:${join(folder, "data", "stoa.db")}`;
    await writeFile(join(folder, "stoa.toml"), configuration(folder, port, database));

    const server = new Server(resolve(program), folder, port);
    await server.start();
    return server;
}

function configuration(folder, port, database) {
    const quote = JSON.stringify;
    return `server_name = "localhost"
data_dir = ${quote(join(folder, "data"))}

[listen]
client = "127.0.0.1:${port}"

[database]
url = ${quote(database)}

[registration]
enabled = true
shared_secret = "of the client tests"

[limits]
enabled = false

[log]
filter = "info"
`;
}

class Server {
    #program;
    #folder;
    #child;

    constructor(program, folder, port) {
        this.#program = program;
        this.#folder = folder;
        this.url = `http://127.0.0.1:${port}`;
        // However this process ends, it must not leave the server behind.
        process.on("exit", () => this.#child?.kill("SIGKILL"));
    }

    /** Stops the server gracefully and starts it again on the same data. */
    async restart() {
        await this.#stop();
        await this.start();
    }

    /** Stops the server for good, and removes its data. */
    async end() {
        await this.#stop();
        const log = await this.log();
        await rm(this.#folder, { recursive: true });
        if (log.includes("panicked at")) throw new Error(`the server panicked:\n${log}`);
    }

    /** What the server has written since its first start. */
    log() {
        return readFile(this.#logFile, "utf8");
    }

    get #logFile() {
        return join(this.#folder, "log");
    }

    async start() {
        const log = await open(this.#logFile, "a");
        const file = join(this.#folder, "stoa.toml");
        this.#child = spawn(this.#program, ["serve", "--config", file], {
            cwd: this.#folder,
            env: environment(),
            stdio: ["ignore", log.fd, log.fd],
        });
        await once(this.#child, "spawn");
        await log.close();

        const deadline = Date.now() + START_LIMIT_MS;
        while (!(await answers(this.url))) {
            if (this.#ended || Date.now() > deadline) {
                this.#child.kill("SIGKILL");
                throw new Error(`the server does not start:\n${await this.log()}`);
            }
            await sleep(20);
        }
    }

    async #stop() {
        if (this.#ended) throw new Error(`the server ended by itself:\n${await this.log()}`);
        const exit = once(this.#child, "exit");
        this.#child.kill("SIGTERM");
        const late = sleep(STOP_LIMIT_MS, "late", { ref: false });
        if ((await Promise.race([exit, late])) === "late") {
            this.#child.kill("SIGKILL");
            throw new Error(`the server does not stop:\n${await this.log()}`);
        }
        if (this.#child.exitCode !== 0) {
            const how = this.#child.signalCode ?? `with ${this.#child.exitCode}`;
            throw new Error(`the server was asked to stop and ended ${how}:\n${await this.log()}`);
        }
    }

    get #ended() {
        return this.#child.exitCode !== null || this.#child.signalCode !== null;
    }
}

/** The environment without settings of the program under test, which it would read. */
function environment() {
    return Object.fromEntries(
        Object.entries(process.env).filter(([name]) => !name.startsWith("STOA_")),
    );
}

async function answers(url) {
    try {
        return (await fetch(`${url}/_matrix/client/versions`)).ok;
    } catch {
        return false;
    }
}

async function freePort() {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address();
    server.close();
    await once(server, "close");
    return port;
}
