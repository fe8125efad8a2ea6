// Alice and Bob talk in an unencrypted room through matrix-js-sdk, syncing all the time:
//
//     node conversation.mjs URL DIRECTORY     (DIRECTORY holds node_modules/matrix-js-sdk)
//
// `{"ask": "restart"}` on stdout asks whoever started us to restart the server, and a line on stdin says
// that it is done. Any doubt ends in a stack trace and exit code 1.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";
import readline from "node:readline";
import { pathToFileURL } from "node:url";

const [url, directory] = process.argv.slice(2);
const sdkPath = createRequire(path.join(directory, "x.js")).resolve("matrix-js-sdk");
const sdk = await import(pathToFileURL(sdkPath));
const { logger } = await import(pathToFileURL(path.join(path.dirname(sdkPath), "logger.js")));
logger.setLevel("error");

const stdin = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function ask(what) {
    console.log(JSON.stringify({ ask: what }));
    assert(!(await stdin.next()).done, "nobody answered");
}

async function until(what, condition) {
    for (let patience = 300; patience > 0; patience--) {
        if (await condition()) return;
        await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`waited in vain for ${what}`);
}

const password = "correct horse battery staple";

async function enter(name) {
    const request = { username: name, password, auth: { type: "m.login.dummy" } };
    return start(await sdk.createClient({ baseUrl: url }).registerRequest(request), 20);
}

async function logIn(name) {
    const identifier = { type: "m.id.user", user: name };
    const request = { type: "m.login.password", identifier, password };
    return start(await sdk.createClient({ baseUrl: url }).loginRequest(request), 3);
}

async function start({ user_id: userId, device_id: deviceId, access_token: accessToken }, initialSyncLimit) {
    const client = sdk.createClient({ baseUrl: url, userId, deviceId, accessToken, timelineSupport: true });
    const heard = [];
    // What the others say, as it arrives. (One's own messages are in the timeline before the server has them.)
    client.on(sdk.RoomEvent.Timeline, (event, room, toStartOfTimeline) => {
        if (event.getType() !== "m.room.message" || toStartOfTimeline || event.getSender() === userId) return;
        heard.push([event.getSender(), event.getContent().body]);
    });
    await client.startClient({ initialSyncLimit, pollTimeout: 5000, lazyLoadMembers: true });
    await until(`the first sync of ${userId}`, () => client.isInitialSyncComplete());
    return { name: userId.slice(1).split(":")[0], client, heard, userId };
}

const alice = await enter("alice");
const bob = await enter("bob");
const people = [alice, bob];

const { room_id: roomId } = await alice.client.createRoom({ name: "Kitchen", preset: "private_chat" });
await alice.client.invite(roomId, bob.userId);
await until("the invite", () => bob.client.getRoom(roomId)?.getMyMembership() === "invite");
await bob.client.joinRoom(roomId);
for (const { name, client } of people) {
    await until(`both to be in ${name}'s room`, () => client.getRoom(roomId)?.getJoinedMemberCount() === 2);
}

const said = [];

async function say(person, text) {
    await person.client.sendTextMessage(roomId, text);
    said.push([person.userId, text]);
}

async function allHear() {
    for (const { name, heard, userId } of people) {
        const expected = said.filter(([sender]) => sender !== userId);
        await until(`${name} to hear all`, () => heard.length >= expected.length);
        assert.deepEqual(heard, expected, `${name} heard something else`);
    }
}

for (let number = 0; number < 3; number++) {
    await say(alice, `Hello Bob, ${number}`);
    await say(bob, `Hello Alice, ${number}`);
}
await allHear();

await say(alice, "Just before the restart");
await ask("restart");
for (let number = 0; number < 3; number++) {
    await say(bob, `Back again, ${number}`);
    await say(alice, `So am I, ${number}`);
}
await allHear();
await alice.client.setRoomTopic(roomId, "Cooking");
await until("the topic", () => {
    const state = bob.client.getRoom(roomId).getLiveTimeline().getState(sdk.EventTimeline.FORWARDS);
    return state.getStateEvents("m.room.topic", "")?.getContent().topic === "Cooking";
});
await allHear();

// New sessions know three events, and page back to the first one in steps of five. (A live timeline would
// not do: it keeps one's own messages where they stood before the server ordered them.)
for (const { name } of people) {
    const { client } = await logIn(name);
    const timeline = client.getRoom(roomId).getLiveTimeline();
    while (await client.paginateEventTimeline(timeline, { backwards: true, limit: 5 }));
    const events = timeline.getEvents();
    assert.equal(events[0].getType(), "m.room.create", `${name} did not get back to the first event`);
    const ids = events.map((event) => event.getId());
    assert.equal(new Set(ids).size, ids.length, `${name} has an event twice`);
    const messages = events.filter((event) => event.getType() === "m.room.message");
    assert.deepEqual(
        messages.map((event) => [event.getSender(), event.getContent().body]),
        said,
    );
    client.stopClient();
}

console.log(JSON.stringify({ done: said.length }));
for (const { client } of people) client.stopClient();
process.exit(0);
