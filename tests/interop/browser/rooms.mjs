// Alice and Bob use what rooms offer, and follow an upgrade. Whatever one does, the other's client shows it.
import { RoomHierarchy } from "matrix-js-sdk/lib/room-hierarchy.js";
import { NotificationCountType } from "matrix-js-sdk/lib/models/room.js";
import { assert, client, event, invited, logIn, register, run, same, start, until } from "./people.mjs";

const text = (body, more = {}) => ({ msgtype: "m.text", body, ...more });
const relatedBy = (room, eventId, relation, type) =>
    room.relations.getChildEventsForEvent(eventId, relation, type)?.getRelations() ?? [];

run(async () => {
    const alice = await start(client(await register("alice")));
    const bob = await start(client(await register("bob")));
    const options = { name: "Kitchen", preset: "private_chat", room_version: "11", invite: [bob.getUserId()] };
    const { room_id: roomId } = await alice.createRoom(options);
    await invited(bob, roomId);
    const [alices, bobs] = [alice, bob].map((who) => who.getRoom(roomId));
    await until("both to be there", () => alices.getJoinedMemberCount() === 2);

    // Edits, reactions, redactions.
    const { event_id: plan } = await alice.sendMessage(roomId, text("Let us cook potatos"));
    await until("the message", () => event(bob, roomId, plan));
    const replaces = { rel_type: "m.replace", event_id: plan };
    const edit = { "m.new_content": text("Let us cook potatoes"), "m.relates_to": replaces };
    await alice.sendMessage(roomId, text("* Let us cook potatoes", edit));
    await until("the edit", () => event(bob, roomId, plan).getContent().body === "Let us cook potatoes");
    const reaction = { "m.relates_to": { rel_type: "m.annotation", event_id: plan, key: "👍" } };
    const { event_id: thumb } = await bob.sendEvent(roomId, "m.reaction", reaction);
    await until("the reaction", () => relatedBy(alices, plan, "m.annotation", "m.reaction").length === 1);
    const { event_id: mistake } = await alice.sendMessage(roomId, text("Oops"));
    await until("the mistake", () => event(bob, roomId, mistake));
    await alice.redactEvent(roomId, mistake, undefined, { reason: "typing with gloves" });
    await until("the redaction", () => event(bob, roomId, mistake).isRedacted());
    same(event(bob, roomId, mistake).getRedactionEvent().content.reason, "typing with gloves", "the reason");
    await bob.redactEvent(roomId, thumb);
    await until("the reaction to go", () => relatedBy(alices, plan, "m.annotation", "m.reaction").length === 0);

    // Threads, and what is counted where.
    const { Total, Highlight } = NotificationCountType;
    const count = (type = Total) => bobs.getRoomUnreadNotificationCount(type);
    const countIn = (threadId) => bobs.getThreadUnreadNotificationCount(threadId, Total);
    await bob.sendReadReceipt(event(bob, roomId, mistake));
    await until("nothing to be unread", () => count() === 0);
    const { event_id: question } = await bob.sendMessage(roomId, text("Which spices?"));
    await until("the question", () => event(alice, roomId, question));
    alices.createThread(question, event(alice, roomId, question), [], true); // as when one opens it to answer
    const { event_id: pepper } = await alice.sendMessage(roomId, question, text("Pepper"));
    const { event_id: salt } = await alice.sendMessage(roomId, question, text("Salt"));
    const { event_id: mention } = await alice.sendMessage(
        roomId, null, text("Bob, are you there?", { "m.mentions": { user_ids: [bob.getUserId()] } }),
    );
    const thread = await until("the thread", () => bobs.getThread(question));
    const last = await until("its replies", () => thread.length === 2 && thread.findEventById(salt));
    await until("two unread in the thread", () => countIn(question) === 2);
    await until("one unread beside it", () => count() === 1 && count(Highlight) === 1);
    await bob.sendReadReceipt(last);
    await until("the thread to be read", () => countIn(question) === 0);
    same(count(), 1, "unread in the room");
    const read = (eventId, where) => where.hasUserReadEvent(bob.getUserId(), eventId);
    await until("Bob's receipt in the thread", () => read(salt, alices.getThread(question)));
    await bob.sendReadReceipt(event(bob, roomId, mention));
    await until("the room to be read", () => count() === 0);
    await until("Bob's receipt", () => read(mention, alices));

    for (const typing of [true, false]) {
        await bob.sendTyping(roomId, typing, 30_000);
        await until(`typing to be ${typing}`, () => alices.getMember(bob.getUserId())?.typing === typing);
    }

    const found = await bob.searchRoomEvents({ term: "potatoes" });
    const hits = found.results.map((result) => result.context.getEvent().getId());
    assert(hits.includes(plan), "the search finds the edited message");
    same((await bob.searchRoomEvents({ term: "Oops" })).results.length, 0, "redacted and found");

    // A space with the room in it.
    const house = { name: "House", creation_content: { type: "m.space" }, invite: [bob.getUserId()] };
    const { room_id: spaceId } = await alice.createRoom(house);
    const via = [alice.getDomain()];
    await alice.sendStateEvent(spaceId, "m.space.child", { via, suggested: true }, roomId);
    await invited(bob, spaceId);
    assert(bob.getRoom(spaceId).isSpaceRoom(), "a space is one");
    const hierarchy = new RoomHierarchy(bob.getRoom(spaceId));
    while (hierarchy.canLoadMore) await hierarchy.load(1);
    same(hierarchy.rooms.map((room) => room.room_id), [spaceId, roomId], "rooms of the space");
    assert(hierarchy.isSuggested(spaceId, roomId), "the room is suggested");

    // A new session finds all of it again, a few events at a time.
    const tablet = await start(client(await logIn(bob.getUserId())), { initialSyncLimit: 3 });
    const seen = tablet.getRoom(roomId);
    await seen.createThreadsTimelineSets();
    await seen.fetchRoomThreads();
    same(seen.getThreads().map((found) => [found.id, found.length]), [[question, 2]], "the threads");
    const timeline = seen.getLiveTimeline();
    while (await tablet.paginateEventTimeline(timeline, { backwards: true, limit: 5 }));
    same(timeline.getEvents()[0].getType(), "m.room.create", "the first event");
    await until("the edit", () => event(tablet, roomId, plan).getContent().body === "Let us cook potatoes");
    assert(event(tablet, roomId, mistake).isRedacted(), "the redacted message stays redacted");
    assert(!timeline.getEvents().some((one) => one.getId() === pepper), "replies stay in the thread");
    tablet.stopClient();

    // The room is upgraded, and Bob follows the tombstone.
    const { replacement_room: newRoomId } = await alice.upgradeRoom(roomId, "12");
    const tombstone = await until("the tombstone", () => bobs.currentState.getStateEvents("m.room.tombstone", ""));
    same(tombstone.getContent().replacement_room, newRoomId, "the replacement");
    await alice.invite(newRoomId, bob.getUserId()); // clients do, where one needs an invite
    await invited(bob, newRoomId);
    same(bob.getRoom(newRoomId).name, "Kitchen", "its name");
    await until("the rooms to be one history", () => bob.getRoomUpgradeHistory(newRoomId, true).length === 2);
    assert(!bob.getVisibleRooms().some((room) => room.roomId === roomId), "the old room is out of sight");
    const { event_id: moved } = await bob.sendMessage(newRoomId, text("What a nice kitchen"));
    await until("the first message there", () => event(alice, newRoomId, moved));
    return "followed";
});
