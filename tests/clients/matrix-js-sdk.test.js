// Two people use Stoa through matrix-js-sdk, the library of Element, and miss nothing.
//
// The steps build on one another. After each, no client may have been refused anything that the
// step did not mean to be refused; what a client disliked is shown with its request.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Person } from "./harness/person.js";
import { startServer } from "./harness/server.js";

import { EventType, KnownMembership, Preset, ReceiptType, Visibility } from "matrix-js-sdk";

const MESSAGES_EACH = 200;

let server;
let alice;
let bob;
let roomId;
let broken = false;

before(async () => {
    server = await startServer();
    alice = new Person(server, "alice");
    bob = new Person(server, "bob");
});

after(async () => {
    alice.stop();
    bob.stop();
    await server.end();
});

/** A step of the story. When one fails, those after it have nothing to stand on. */
function step(name, work) {
    test(name, async (t) => {
        if (broken) return t.skip("a step before it failed");
        const people = [alice, bob];
        try {
            await work(people);
            for (const person of people) person.wire.assertContent();
        } catch (cause) {
            broken = true;
            const wires = people.map((person) => person.wire.describe());
            throw new Error([cause.message, ...wires].join("\n\n"), { cause });
        }
    });
}

/** Whether a promise fails with this Matrix error, and only the client's complaint of it. */
async function refused(person, work, status, errcode) {
    await assert.rejects(work, { httpStatus: status, errcode });
    person.wire.forgive(status);
}

step("two people register, and one logs in again", async () => {
    assert.equal(await alice.client.isUsernameAvailable("alice"), true);
    for (const person of [alice, bob]) {
        await person.register();
        // The first answer to a registration says what it takes.
        person.wire.forgive(401);
        assert.equal(person.id, `@${person.name}:${await serverName()}`);
    }
    const taken = { username: "alice", password: "another", auth: { type: "m.login.dummy" } };
    await refused(bob, bob.client.registerRequest(taken), 400, "M_USER_IN_USE");

    const { flows } = await bob.client.loginFlows();
    assert.ok(flows.some((flow) => flow.type === "m.login.password"));
    const password = bob.password;
    bob.password = "a wrong one";
    await refused(bob, bob.logIn(), 403, "M_FORBIDDEN");
    bob.password = password;
    const before = bob.client.getDeviceId();
    await bob.logIn();
    assert.notEqual(bob.client.getDeviceId(), before);
    assert.equal((await bob.client.whoami()).user_id, bob.id);
});

step("both start", async () => {
    await Promise.all([alice.start(), bob.start()]);
    assert.deepEqual(alice.client.getRooms(), []);
});

step("an invitation is accepted", async () => {
    const created = await alice.client.createRoom({
        preset: Preset.PrivateChat,
        name: "Harbour",
        invite: [bob.id],
    });
    roomId = created.room_id;
    await bob.until("the invitation", () => bob.membership(roomId) === KnownMembership.Invite);
    assert.equal(bob.room(roomId).name, "Harbour");
    await bob.client.joinRoom(roomId);
    await bob.until("himself in the room", () => bob.membership(roomId) === KnownMembership.Join);
    await alice.until("Bob in the room", () => alice.room(roomId)?.getJoinedMemberCount() === 2);
    await alice.until(
        "Bob as a member",
        () => alice.member(roomId, bob)?.membership === KnownMembership.Join,
    );
});

step("an invitation is rejected", async () => {
    const { room_id: other } = await alice.client.createRoom({ preset: Preset.PrivateChat });
    await alice.client.invite(other, bob.id, "please");
    await bob.until("the invitation", () => bob.membership(other) === KnownMembership.Invite);
    await bob.client.leave(other);
    await bob.until("the invitation gone", () => bob.membership(other) === KnownMembership.Leave);
    await alice.until(
        "the rejection",
        () => alice.member(other, bob)?.membership === KnownMembership.Leave,
    );
    await refused(bob, bob.client.joinRoom(other), 403, "M_FORBIDDEN");
});

step("a public room is found by its alias, joined and left", async () => {
    const { room_id: square } = await alice.client.createRoom({
        preset: Preset.PublicChat,
        visibility: Visibility.Public,
        room_alias_name: "square",
        name: "Square",
    });
    const { chunk } = await bob.client.publicRooms({ limit: 10 });
    const alias = `#square:${await serverName()}`;
    assert.deepEqual(
        chunk.map((room) => [room.room_id, room.canonical_alias, room.name]),
        [[square, alias, "Square"]],
    );
    await bob.client.joinRoom(alias);
    await bob.until("the square", () => bob.membership(square) === KnownMembership.Join);
    await bob.client.leave(square);
    await bob.until("having left", () => bob.membership(square) === KnownMembership.Leave);
    await alice.until(
        "Bob leaving",
        () => alice.member(square, bob)?.membership === KnownMembership.Leave,
    );
});

step("changes of state are seen", async () => {
    await alice.client.setRoomName(roomId, "Old harbour");
    await bob.until("the new name", () => bob.room(roomId).name === "Old harbour");
    await alice.client.setRoomTopic(roomId, "Ships and *tides*", "Ships and <em>tides</em>");
    await bob.until(
        "the topic",
        () => bob.state(roomId, EventType.RoomTopic)?.topic === "Ships and *tides*",
    );

    await refused(bob, bob.client.setRoomName(roomId, "Mine"), 403, "M_FORBIDDEN");
    await alice.client.setPowerLevel(roomId, bob.id, 50);
    await bob.until("his power", () => bob.member(roomId, bob)?.powerLevel === 50);
    await bob.client.setRoomName(roomId, "Our harbour");
    for (const person of [alice, bob]) {
        await person.until("Bob's name", () => person.room(roomId).name === "Our harbour");
    }
});

step("a restart in the middle of 200 messages each way loses and doubles nothing", async (people) => {
    const half = MESSAGES_EACH / 2;
    const send = (person, from, to) =>
        numbers(from, to).map((number) => person.say(roomId, `${person.name} ${number}`));

    const sent = await Promise.all(people.flatMap((person) => send(person, 0, half)));
    const underWay = people.flatMap((person) => send(person, half, MESSAGES_EACH));
    await Promise.any(underWay);
    await server.restart();
    sent.push(...(await Promise.all(underWay)));
    sent.push(await alice.say(roomId, "alice is done"));

    for (const person of people) {
        await person.catchUp(roomId, sent.at(-1));
        person.wire.forgiveAbsence();
        assertSame(person.texts(roomId).map((text) => text.id).sort(), sent.toSorted());
        assertSame(person.repeated(), []);
    }
    assertSame(bob.texts(roomId), alice.texts(roomId));
    const expected = people.flatMap((person) =>
        numbers(0, MESSAGES_EACH).map((number) => `${person.id}: ${person.name} ${number}`),
    );
    assertSame(
        alice.texts(roomId).map((text) => `${text.sender}: ${text.body}`).sort(),
        [...expected, `${alice.id}: alice is done`].sort(),
    );
});

step("typing is seen", async () => {
    await bob.client.sendTyping(roomId, true, 30_000);
    await alice.until("Bob typing", () => alice.member(roomId, bob).typing);
    await bob.client.sendTyping(roomId, false, 0);
    await alice.until("Bob resting", () => !alice.member(roomId, bob).typing);
});

step("receipts are seen", async () => {
    const id = await alice.say(roomId, "read this");
    await bob.until("the message", () => bob.room(roomId).findEventById(id));
    await alice.until("her message", () => alice.room(roomId).findEventById(id));
    assert.equal(alice.room(roomId).hasUserReadEvent(bob.id, id), false);
    await bob.client.sendReadReceipt(bob.room(roomId).findEventById(id), ReceiptType.Read);
    await alice.until("Bob's receipt", () => alice.room(roomId).hasUserReadEvent(bob.id, id));

    await alice.client.setRoomReadMarkers(roomId, id);
    await alice.until("her own marker", () => {
        const marker = alice.room(roomId).getAccountData(EventType.FullyRead);
        return marker?.getContent().event_id === id;
    });
});

step("a change of profile is seen", async () => {
    await bob.client.setDisplayName("Bob of the harbour");
    await bob.client.setAvatarUrl(`mxc://${await serverName()}/lighthouse`);
    await alice.until("Bob's name", () => alice.member(roomId, bob).name === "Bob of the harbour");
    await alice.until("Bob's picture", () => {
        return alice.member(roomId, bob).getMxcAvatarUrl()?.endsWith("/lighthouse");
    });
    const profile = await alice.client.getProfileInfo(bob.id);
    assert.equal(profile.displayname, "Bob of the harbour");
});

step("a redaction is seen", async () => {
    const id = await bob.say(roomId, "a slip");
    await alice.until("the slip", () => alice.room(roomId).findEventById(id));
    await bob.client.redactEvent(roomId, id);
    await alice.until("it gone", () => alice.room(roomId).findEventById(id).isRedacted());
    assert.deepEqual(alice.room(roomId).findEventById(id).getContent(), {});
});

step("a client that was cut off catches up", async () => {
    bob.wire.cut();
    await Promise.all(numbers(0, 60).map((number) => alice.say(roomId, `while away ${number}`)));
    const last = await alice.say(roomId, "done again");
    bob.wire.mend();
    bob.client.retryImmediately();
    for (const person of [alice, bob]) await person.catchUp(roomId, last);
    bob.wire.forgiveAbsence();
    assertSame(bob.texts(roomId), alice.texts(roomId));
    assertSame(bob.repeated(), []);
});

step("a new device has the whole history", async (people) => {
    const device = await bob.onNewDevice();
    people.push(device);
    await device.start();
    try {
        assert.equal(device.room(roomId).name, "Our harbour");
        assert.equal(device.state(roomId, EventType.RoomTopic).topic, "Ships and *tides*");
        assert.equal(device.member(roomId, bob).name, "Bob of the harbour");
        assert.equal(device.member(roomId, bob).powerLevel, 50);
        await device.scrollToTheTop(roomId);
        assertSame(device.texts(roomId), alice.texts(roomId));
        const room = device.room(roomId);
        assert.equal(room.hasUserReadEvent(bob.id, room.getLiveTimeline().getEvents()[0].getId()), true);
    } finally {
        device.stop();
    }
    await device.client.logout(true);
    await refused(device, device.client.whoami(), 401, "M_UNKNOWN_TOKEN");
});

function numbers(from, to) {
    return Array.from({ length: to - from }, (_, index) => from + index);
}

async function serverName() {
    return alice.client.getDomain() ?? "";
}

/** Like `deepEqual`, with a message that names only what differs. */
function assertSame(actual, expected) {
    const text = (list) => list.map((item) => JSON.stringify(item));
    const [have, want] = [text(actual), text(expected)];
    const missing = want.filter((item) => !have.includes(item));
    const extra = have.filter((item) => !want.includes(item));
    assert.deepEqual({ missing, extra }, { missing: [], extra: [] });
    assert.deepEqual(have, want);
}
