// Everything that a client sends to the server and gets from it, shown when a test fails.

/** How much of a body is shown where a client complains, and where it does not. */
const BODY_LIMIT = 4_000;
const SHORT_BODY_LIMIT = 600;
const RECENT = 8;

export class Wire {
    #who;
    #exchanges = [];
    #complaints = [];
    #observers = [];
    /** Breaks the connections that are open when the network goes away. */
    #network = new AbortController();

    constructor(who) {
        this.#who = who;
    }

    /** To be called with the path and the JSON of each answer. */
    observe(observer) {
        this.#observers.push(observer);
    }

    /** A `fetch` that writes down what it does. */
    fetch = async (resource, init = {}) => {
        const url = new URL(resource);
        const exchange = { method: init.method ?? "GET", path: url.pathname + url.search };
        exchange.request = typeof init.body === "string" ? init.body : undefined;
        this.#exchanges.push(exchange);
        let response;
        try {
            const signals = [this.#network.signal, init.signal].filter(Boolean);
            response = await fetch(resource, { ...init, signal: AbortSignal.any(signals) });
            exchange.response = await response.clone().text();
        } catch (error) {
            exchange.status = `${error.name}: ${error.cause?.message ?? error.message}`;
            if (error.name !== "AbortError") this.#complaints.push(exchange);
            throw error;
        }
        exchange.status = response.status;
        if (response.ok) this.#tell(url.pathname, exchange.response);
        else if (!isTrial(exchange)) this.#complaints.push(exchange);
        return response;
    };

    /** What the client library has to say; an error is a complaint about the server. */
    logger = {
        trace() {},
        debug() {},
        info() {},
        warn() {},
        error: (...words) => this.#complaints.push({ words: words.map(String).join(" ") }),
        getChild: () => this.logger,
    };

    /** Takes the network away from this client alone. */
    cut() {
        this.#network.abort(new TypeError("the network is away"));
    }

    mend() {
        this.#network = new AbortController();
    }

    /** Takes back the complaints of something that was meant to be refused. */
    forgive(status) {
        if (!this.#complaints.some((complaint) => complaint.status === status)) {
            throw new Error(`${this.#who} was never answered ${status}`);
        }
        this.#complaints = this.#complaints.filter(
            (complaint) => complaint.status !== status && complaint.words === undefined,
        );
    }

    /** Takes back everything that the client complained about while it could not reach the server. */
    forgiveAbsence() {
        this.#complaints = this.#complaints.filter(
            ({ status }) => typeof status === "number" && ![502, 503, 504].includes(status),
        );
    }

    /** Fails if the server refused something that no test meant to be refused. */
    assertContent() {
        if (this.#complaints.length > 0) throw new Error(`${this.#who} has complaints`);
    }

    describe() {
        const complaints = countRepeats(this.#complaints.map((one) => show(one, BODY_LIMIT)));
        const recent = this.#exchanges.slice(-RECENT).map((one) => show(one, SHORT_BODY_LIMIT));
        return [
            ...(complaints.length > 0 ? [`--- what ${this.#who} disliked`, ...complaints] : []),
            `--- what ${this.#who} asked last`,
            ...recent,
        ].join("\n");
    }

    #tell(path, body) {
        if (this.#observers.length === 0) return;
        const json = JSON.parse(body);
        for (const observer of this.#observers) observer(path, json);
    }
}

/** Whether a client only tried what the server may well not have. */
function isTrial({ path, status, response }) {
    return path.includes("/unstable/") && status === 404 && response.includes('"M_UNRECOGNIZED"');
}

function show({ words, method, path, request, status, response }, limit) {
    if (words !== undefined) return `the library: ${shorten(words, limit)}`;
    const lines = [`${method} ${path}`];
    if (request) lines.push(`  > ${shorten(hideSecrets(request), limit)}`);
    lines.push(`  < ${status ?? "no answer yet"} ${shorten(hideSecrets(response ?? ""), limit)}`);
    return lines.join("\n");
}

function hideSecrets(body) {
    return body.replace(/"(password|access_token|refresh_token)":\s*"[^"]*"/g, '"$1":"…"');
}

function shorten(text, limit) {
    return text.length > limit ? `${text.slice(0, limit)}… (${text.length} characters)` : text;
}

function countRepeats(lines) {
    const times = new Map();
    for (const line of lines) times.set(line, (times.get(line) ?? 0) + 1);
    return [...times].map(([line, count]) => (count > 1 ? `${line} (${count} times)` : line));
}
