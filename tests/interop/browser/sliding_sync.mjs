// Bob's client knows rooms by simplified sliding sync alone: MSC4186, as matrix-js-sdk does it.
import { SlidingSync } from "matrix-js-sdk/lib/sliding-sync.js";
import { baseUrl, client, event, register, run, same, start, until } from "./people.mjs";

const everything = { required_state: [["*", "*"]], timeline_limit: 10 };

run(async () => {
    const alice = await start(client(await register("alice")));
    const bobsSession = await register("bob");
    const lists = new Map([["all", { ranges: [[0, 20]], ...everything }]]);
    const bobsClient = client(bobsSession);
    const slidingSync = new SlidingSync(baseUrl, lists, everything, bobsClient, 5000);
    await bobsClient.startClient({ slidingSync, threadSupport: true });

    const { room_id: roomId } = await alice.createRoom({ name: "Kitchen", invite: [bobsClient.getUserId()] });
    await until("the invite", () => bobsClient.getRoom(roomId)?.getMyMembership() === "invite");
    await bobsClient.joinRoom(roomId);
    await until("the room", () => bobsClient.getRoom(roomId)?.getMyMembership() === "join");
    await until("its name", () => bobsClient.getRoom(roomId).name === "Kitchen");
    same(slidingSync.getListData("all").joinedCount, 1, "rooms in the list");

    const { event_id: hello } = await alice.sendTextMessage(roomId, "Hello Bob");
    await until("the message", () => event(bobsClient, roomId, hello));
    const { event_id: answer } = await bobsClient.sendTextMessage(roomId, "Hello Alice");
    await until("the answer", () => event(alice, roomId, answer));
    await alice.sendTyping(roomId, true, 30_000);
    await until("typing", () => bobsClient.getRoom(roomId).getMember(alice.getUserId())?.typing);
    await alice.sendReadReceipt(event(alice, roomId, answer));
    await until("the receipt", () => bobsClient.getRoom(roomId).hasUserReadEvent(alice.getUserId(), answer));
    await bobsClient.setRoomTag(roomId, "m.favourite", { order: 0.5 });
    await until("the tag", () => bobsClient.getRoom(roomId).tags["m.favourite"]);

    // A name changed while many rooms came in between.
    for (let number = 0; number < 25; number++) {
        await alice.createRoom({ name: `Room ${number}`, invite: [bobsClient.getUserId()] });
    }
    await alice.setRoomName(roomId, "Dining room");
    await until("the new name", () => bobsClient.getRoom(roomId).name === "Dining room");
    await until("all rooms to be counted", () => slidingSync.getListData("all").joinedCount === 26);
    return "slid";
});
