// A person at a client: matrix-js-sdk set up as Element sets it up, but for encryption.

import "./quiet.js";

import {
    EventTimeline,
    EventType,
    InteractiveAuth,
    MsgType,
    PendingEventOrdering,
    SyncState,
    createClient,
} from "matrix-js-sdk";
import { setTimeout as sleep } from "node:timers/promises";

import { Wire } from "./wire.js";

const PATIENCE_MS = 20_000;

export class Person {
    /** How often each event came in a timeline of this client's syncs. */
    #deliveries = new Map();

    constructor(server, name, label = name) {
        this.name = name;
        this.password = `the password of ${name}`;
        this.server = server;
        this.wire = new Wire(label);
        this.wire.observe((path, answer) => this.#count(path, answer));
        this.#newClient({});
    }

    /** The same person on a new device, which knows nothing yet. */
    async onNewDevice() {
        const other = new Person(this.server, this.name, `${this.name} on a new device`);
        other.password = this.password;
        await other.logIn();
        return other;
    }

    get id() {
        return this.client.getSafeUserId();
    }

    /** Makes the account as a registration form would: what to do is up to the server. */
    async register() {
        const details = { username: this.name, password: this.password };
        const auth = new InteractiveAuth({
            matrixClient: this.client,
            doRequest: (auth) => this.client.registerRequest({ ...details, auth: auth ?? undefined }),
            stateUpdated: () => {},
            requestEmailToken: () => Promise.reject(new Error("nobody has an address here")),
        });
        this.#newClient(await auth.attemptAuth());
    }

    async logIn() {
        this.#newClient(await this.client.loginRequest({
            type: "m.login.password",
            identifier: { type: "m.id.user", user: this.name },
            password: this.password,
        }));
    }

    /** Starts to sync, and returns when the first sync is through. */
    async start() {
        await this.client.startClient({
            initialSyncLimit: 20,
            lazyLoadMembers: true,
            pendingEventOrdering: PendingEventOrdering.Detached,
            threadSupport: true,
        });
        await this.until("a first sync", () => this.isInSync());
    }

    stop() {
        this.client.stopClient();
    }

    isInSync() {
        return [SyncState.Prepared, SyncState.Syncing].includes(this.client.getSyncState());
    }

    /** Waits until the client shows something. */
    async until(what, isSo) {
        const deadline = Date.now() + PATIENCE_MS;
        while (!isSo()) {
            if (Date.now() > deadline) throw new Error(`${this.name} never saw ${what}`);
            await sleep(10);
        }
    }

    room(roomId) {
        return this.client.getRoom(roomId);
    }

    membership(roomId) {
        return this.room(roomId)?.getMyMembership();
    }

    /** The content of a piece of the room's current state. */
    state(roomId, type, key = "") {
        const state = this.room(roomId)?.getLiveTimeline().getState(EventTimeline.FORWARDS);
        return state?.getStateEvents(type, key)?.getContent();
    }

    /** A member of a room, as this client shows them. */
    member(roomId, person) {
        return this.room(roomId)?.getMember(person.id);
    }

    /**
     * Sends a text, and if the connection breaks sends it again until it is through, as a person
     * does when the client says that a message was not sent.
     */
    async say(roomId, body) {
        const room = this.room(roomId);
        try {
            return (await this.client.sendTextMessage(roomId, body)).event_id;
        } catch (error) {
            if (error.httpStatus) throw error;
        }
        for (;;) {
            await this.until("the server again", () => this.isInSync());
            const event = room.getPendingEvents().find((event) => event.getContent().body === body);
            // It may have arrived after all, and only the answer was lost.
            if (!event) return this.texts(roomId).find((text) => text.body === body).id;
            try {
                return (await this.client.resendEvent(event, room)).event_id;
            } catch (error) {
                if (error.httpStatus) throw error;
                await sleep(100);
            }
        }
    }

    /** The texts in the room, in the order shown, as `{ id, sender, body }`. */
    texts(roomId) {
        const timelines = [];
        let timeline = this.room(roomId)?.getLiveTimeline();
        while (timeline) {
            timelines.unshift(timeline);
            timeline = timeline.getNeighbouringTimeline(EventTimeline.BACKWARDS);
        }
        return timelines
            .flatMap((timeline) => timeline.getEvents())
            .filter((event) => event.getType() === EventType.RoomMessage)
            .filter((event) => event.getContent().msgtype === MsgType.Text)
            .map((event) => ({
                id: event.getId(),
                sender: event.getSender(),
                body: event.getContent().body,
            }));
    }

    /**
     * Waits for a text that was sent when all others had been acknowledged, and then scrolls up to
     * fill the gaps that syncs may have left before it.
     */
    async catchUp(roomId, lastId) {
        await this.until("the last text", () => this.texts(roomId).some(({ id }) => id === lastId));
        await this.scrollToTheTop(roomId);
    }

    /** Scrolls up to the creation of the room. */
    async scrollToTheTop(roomId) {
        const oldest = () => {
            let timeline = this.room(roomId).getLiveTimeline();
            for (;;) {
                const earlier = timeline.getNeighbouringTimeline(EventTimeline.BACKWARDS);
                if (!earlier) return timeline;
                timeline = earlier;
            }
        };
        while (oldest().getPaginationToken(EventTimeline.BACKWARDS) !== null) {
            await this.client.paginateEventTimeline(oldest(), { backwards: true, limit: 50 });
        }
        const first = oldest().getEvents()[0]?.getType();
        if (first !== EventType.RoomCreate) throw new Error(`the room begins with ${first}`);
    }

    /** The events that came more than once in the syncs of this client. */
    repeated() {
        return [...this.#deliveries].filter(([, times]) => times > 1).map(([id]) => id);
    }

    #newClient({ user_id: userId, device_id: deviceId, access_token: accessToken }) {
        this.#deliveries.clear();
        this.client = createClient({
            baseUrl: this.server.url,
            userId,
            deviceId,
            accessToken,
            timelineSupport: true,
            disableVoip: true,
            fetchFn: this.wire.fetch,
            logger: this.wire.logger,
        });
    }

    #count(path, answer) {
        if (!path.endsWith("/sync")) return;
        const rooms = [answer.rooms?.join, answer.rooms?.leave].flatMap((all) => Object.values(all ?? {}));
        for (const event of rooms.flatMap((room) => room.timeline?.events ?? [])) {
            this.#deliveries.set(event.event_id, (this.#deliveries.get(event.event_id) ?? 0) + 1);
        }
    }
}
