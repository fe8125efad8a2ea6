// Alice's keys outlive her devices: cross-signing, a second session verified by emoji, secret storage, a key
// backup, a dehydrated device. Then all her devices are gone, and a new one with the recovery key reads on.
import { CryptoEvent, VerificationPhase, VerifierEvent } from "matrix-js-sdk/lib/crypto-api/index.js";
import { assert, encrypted, event, invited, logIn, password, register, run, same, until } from "./people.mjs";

const aboutPassword = (userId) => async (makeRequest) => {
    try {
        await makeRequest(null);
    } catch (error) {
        const auth = { type: "m.login.password", identifier: { type: "m.id.user", user: userId }, password };
        await makeRequest({ ...auth, session: error.data.session });
    }
};

async function reads(client, roomId, eventId, body) {
    await until(`${client.getUserId()} (${client.getDeviceId()}) to read «${body}»`, async () => {
        const found = event(client, roomId, eventId);
        if (found?.isDecryptionFailure()) await found.attemptDecryption(client.getCrypto(), { isRetry: true });
        return found?.isEncrypted() && found.getClearContent()?.body === body;
    });
}

// Both compare seven emoji.
async function compareEmoji(requested, received) {
    await received.accept();
    await until("the acceptance", () => requested.phase >= VerificationPhase.Ready);
    const asking = await requested.startVerification("m.sas.v1");
    const answering = await until("the verifier", () => received.verifier);
    const shown = [];
    const done = [asking, answering].map((verifier) => {
        verifier.on(VerifierEvent.ShowSas, (sas) => shown.push(sas));
        return verifier.verify();
    });
    await Promise.race([until("the emoji", () => shown.length === 2), Promise.all(done)]);
    same(shown[0].sas.emoji.length, 7, "emoji");
    same(shown[0].sas.emoji, shown[1].sas.emoji, "emoji on both sides");
    await Promise.all(shown.map((sas) => sas.confirm()));
    await Promise.all(done);
}

const incoming = (client) => new Promise((resolve) => client.once(CryptoEvent.VerificationRequestReceived, resolve));

run(async () => {
    const recovery = {};
    const bob = await encrypted(await register("bob"));
    const laptop = await encrypted(await register("alice"), recovery);
    const alice = laptop.getUserId();
    const crypto = laptop.getCrypto();
    await crypto.bootstrapCrossSigning({ authUploadDeviceSigningKeys: aboutPassword(alice) });
    await crypto.bootstrapSecretStorage({
        setupNewKeyBackup: true,
        createSecretStorageKey: async () => {
            const made = await crypto.createRecoveryKeyFromPassphrase();
            recovery.key = made.encodedPrivateKey;
            return made;
        },
    });
    await until("cross-signing to be ready", () => crypto.isCrossSigningReady());
    await until("secret storage to be ready", () => crypto.isSecretStorageReady());
    await until("the backup", () => crypto.getActiveSessionBackupVersion());

    const encryption = { type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } };
    const { room_id: roomId } = await laptop.createRoom({ invite: [bob.getUserId()], initial_state: [encryption] });
    await invited(bob, roomId);
    await until("Bob on the laptop", () => laptop.getRoom(roomId).getMember(bob.getUserId())?.membership === "join");
    const { event_id: hello } = await bob.sendTextMessage(roomId, "Hello Alice");
    await reads(laptop, roomId, hello, "Hello Alice");
    const { event_id: answer } = await laptop.sendTextMessage(roomId, "Hello Bob");
    await reads(bob, roomId, answer, "Hello Bob");

    // The phone asks to be verified, is handed the secrets, and reads what was said before it was there.
    const phone = await encrypted(await logIn(alice), {}, { initialSyncLimit: 50 });
    const onLaptop = incoming(laptop);
    await compareEmoji(await phone.getCrypto().requestOwnUserVerification(), await onLaptop);
    for (const client of [laptop, bob]) {
        await until("the phone to be cross-signed", async () => {
            const status = await client.getCrypto().getDeviceVerificationStatus(alice, phone.getDeviceId());
            return status?.signedByOwner;
        });
    }
    await until("the phone to have the secrets", () => phone.getCrypto().isCrossSigningReady());
    await until("the phone to have the backup's key", () => phone.getCrypto().getSessionBackupPrivateKey());
    await reads(phone, roomId, hello, "Hello Alice");
    await reads(phone, roomId, answer, "Hello Bob");

    // Bob is verified in the room.
    await bob.getCrypto().bootstrapCrossSigning({ authUploadDeviceSigningKeys: aboutPassword(bob.getUserId()) });
    await until("Bob's identity", () => crypto.userHasCrossSigningKeys(bob.getUserId(), true));
    const onBobs = incoming(bob);
    await compareEmoji(await crypto.requestVerificationDM(bob.getUserId(), roomId), await onBobs);
    for (const client of [laptop, phone]) {
        await until("Bob to be verified", async () => {
            const status = await client.getCrypto().getUserVerificationStatus(bob.getUserId());
            return status.isCrossSigningVerified();
        });
    }

    // All devices but the dehydrated one go.
    assert(await crypto.isDehydrationSupported(), "dehydration is supported");
    await crypto.startDehydration();
    await phone.logout(true);
    await laptop.logout(true);
    await until("Bob to know that", async () => {
        const devices = (await bob.getCrypto().getUserDeviceInfo([alice], true)).get(alice);
        return devices.size === 1 && [...devices.values()][0].dehydrated;
    });
    const { event_id: alone } = await bob.sendTextMessage(roomId, "Are you gone?");

    const tablet = await encrypted(await logIn(alice), recovery, { initialSyncLimit: 50 });
    const restored = tablet.getCrypto();
    await restored.userHasCrossSigningKeys(alice, true); // the public ones must be known first
    await restored.bootstrapCrossSigning({});
    await until("the tablet to be cross-signed", () => restored.isCrossSigningReady());
    await restored.loadSessionBackupPrivateKeyFromSecretStorage();
    await restored.checkKeyBackupAndEnable();
    const { imported } = await restored.restoreKeyBackup();
    assert(imported >= 2, `only ${imported} keys came out of the backup`);
    await reads(tablet, roomId, hello, "Hello Alice");
    await reads(tablet, roomId, answer, "Hello Bob");
    assert(event(tablet, roomId, alone).isDecryptionFailure(), "the backup cannot know the last message's key");
    const keys = new Promise((resolve) => tablet.on(CryptoEvent.RehydrationProgress, resolve));
    tablet.on(CryptoEvent.RehydrationError, (error) => console.error(`rehydration: ${error}`));
    await restored.startDehydration();
    same(await keys, 1, "room keys from the dehydrated device");
    await reads(tablet, roomId, alone, "Are you gone?");
    const { event_id: back } = await tablet.sendTextMessage(roomId, "I am back");
    await reads(bob, roomId, back, "I am back");
    return "restored";
});
