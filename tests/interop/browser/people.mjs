// People with matrix-js-sdk clients, for the scripts beside this file. A script is one call of `run`.
import * as sdk from "matrix-js-sdk";
import { logger as root } from "matrix-js-sdk/lib/logger.js";
import { decodeRecoveryKey } from "matrix-js-sdk/lib/crypto-api/index.js";

root.setLevel("warn");
const silent = () => {};
const { warn, error } = console;
const logger = { trace: silent, debug: silent, info: silent, warn, error, getChild: () => logger };

export const baseUrl = decodeURIComponent(location.search.slice(1));
export const password = "correct horse battery staple";

export function assert(truth, what) {
    if (!truth) throw new Error(what);
}

export function same(found, expected, what) {
    const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
    assert(a === b, `${what}: ${a}, not ${b}`);
}

export async function until(what, condition, seconds = 30) {
    for (let patience = seconds * 20; patience > 0; patience--) {
        const found = await condition();
        if (found) return found;
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`waited in vain for ${what}`);
}

// Syncs of two people may have one address: Chromium would let the second wait for the answer to the first, to
// take it from its cache.
const fetchFn = (url, options) => fetch(url, { ...options, cache: "no-store" });

const common = { baseUrl, logger, fetchFn };
const anonymous = sdk.createClient({ ...common }); // it keeps its store in what it is given

// A user's name is told from those of other tests on the same server.
const suffix = Math.random().toString(36).slice(2, 10);

export async function register(name) {
    const request = { username: `${name}-${suffix}`, password, auth: { type: "m.login.dummy" } };
    return anonymous.registerRequest(request);
}

export async function logIn(userId) {
    const identifier = { type: "m.id.user", user: userId };
    return anonymous.loginRequest({ type: "m.login.password", identifier, password });
}

// A client that is not started yet.
export function client({ user_id: userId, device_id: deviceId, access_token: accessToken }, options = {}) {
    return sdk.createClient({ ...common, userId, deviceId, accessToken, timelineSupport: true, ...options });
}

const syncing = { initialSyncLimit: 20, pollTimeout: 5000, lazyLoadMembers: true, threadSupport: true };

export async function start(client, options = {}) {
    await client.startClient({ ...syncing, ...options });
    await until(`the first sync of ${client.getUserId()}`, () => client.isInitialSyncComplete());
    return client;
}

// A session with Rust crypto, whose key to the secret storage is `recovery.key` as soon as it is known.
export async function encrypted(session, recovery = {}, options = {}) {
    const made = client(session, {
        cryptoCallbacks: {
            getSecretStorageKey: async ({ keys }) => {
                const id = Object.keys(keys)[0];
                return recovery.key ? [id, decodeRecoveryKey(recovery.key)] : null;
            },
        },
    });
    await made.initRustCrypto({ cryptoDatabasePrefix: `${session.user_id}/${session.device_id}` });
    return start(made, options);
}

export async function invited(client, roomId) {
    await until("the invite", () => client.getRoom(roomId)?.getMyMembership() === "invite");
    await client.joinRoom(roomId);
    await until("the room", () => client.getRoom(roomId)?.getMyMembership() === "join");
}

export function event(client, roomId, eventId) {
    return client.getRoom(roomId)?.findEventById(eventId);
}

export async function run(script) {
    const say = (what) => fetch("/", { method: "POST", body: JSON.stringify(what) });
    try {
        await say({ done: await script() });
    } catch (error) {
        await say({ failed: `${error.stack ?? error} ${error.url ?? ""}` });
    }
}
