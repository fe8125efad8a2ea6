// A bot made with matrix-bot-sdk: joins where it is invited, and describes the room to who says `!describe`.
//
//     node bot.mjs URL TOKEN DIRECTORY     (DIRECTORY holds node_modules/@vector-im/matrix-bot-sdk)
import { createRequire } from "node:module";
import path from "node:path";

const [url, token, directory] = process.argv.slice(2);
const require = createRequire(path.join(directory, "x.js"));
// The encryption is a binary that is not in the registry; a bot that does not encrypt only loads its module.
require.cache[require.resolve("@matrix-org/matrix-sdk-crypto-nodejs")] = { loaded: true, exports: {} };
const { AutojoinRoomsMixin, LogLevel, LogService, MatrixClient, MemoryStorageProvider, PowerLevelAction } =
    require("@vector-im/matrix-bot-sdk");
LogService.setLevel(LogLevel.WARN);

const client = new MatrixClient(url, token, new MemoryStorageProvider());
AutojoinRoomsMixin.setupOnClient(client);
client.on("room.message", async (roomId, event) => {
    if (event.content?.body !== "!describe") return;
    const types = (await client.getRoomState(roomId)).map((one) => one.type);
    const answer = {
        name: (await client.getRoomStateEvent(roomId, "m.room.name", "")).name,
        members: (await client.getJoinedRoomMembers(roomId)).sort(),
        may_kick: await client.userHasPowerLevelForAction(event.sender, roomId, PowerLevelAction.Kick),
        creations: types.filter((type) => type === "m.room.create").length,
    };
    await client.replyNotice(roomId, event, JSON.stringify(answer));
});
await client.start();
