// Who is signed in. The tokens live in sessionStorage: gone with the tab, and never in a URL.
//
// A link may carry a session. It never replaces one that is there: whoever sends it could have somebody work in an account
// that isn't theirs, without their noticing.

const KEY = "ghl-sync.session";
const REFRESH_BEFORE_MS = 60_000;
const NO_ANSWER = "The sign-in service doesn't answer. Try again in a moment.";

export class SignInError extends Error {}

export class Session {
  #config;
  #tokens;
  #refreshing = null;
  #linkIgnored = false;
  #accepted = false; // By the server, on this page.
  #offered = null; // A link's session, until the server has accepted the one that is there.

  constructor(config) {
    this.#config = config;
    this.#tokens = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
    this.adoptFragment();
  }

  /**
   * Supabase and the local stack hand over a session in the fragment, which no server sees; it leaves the address bar at once.
   * True if there was one.
   */
  adoptFragment() {
    const given = new URLSearchParams(location.hash.slice(1));
    const access = given.get("access_token");
    if (!access) return false;
    history.replaceState(null, "", location.pathname + location.search);
    const isThere = this.signedIn && (!this.hasEnded || this.#canRefresh);
    this.#linkIgnored = isThere && access !== this.#tokens.access;
    const session = { access_token: access, refresh_token: given.get("refresh_token") };
    if (!isThere) this.#keep(session);
    else if (this.#linkIgnored && !this.#accepted) this.#offered = session;
    return true;
  }

  /** Whether a link has brought another session, which was left out. */
  get linkIgnored() {
    return this.#linkIgnored;
  }

  /** The server has accepted the session that is there. */
  accepted() {
    this.#accepted = true;
    this.#offered = null;
  }

  #keep({ access_token, refresh_token, expires_in }) {
    // By its length, where that is told with a new token: this browser's clock may be hours off.
    const ends = expires_in ? Date.now() + expires_in * 1000 : null;
    this.#tokens = { access: access_token, refresh: refresh_token ?? null, ends };
    sessionStorage.setItem(KEY, JSON.stringify(this.#tokens));
    return this.#tokens;
  }

  get canSignIn() {
    return Boolean(this.#config.supabaseUrl && this.#config.supabaseAnonKey);
  }

  get signedIn() {
    return this.#tokens !== null;
  }

  /** For display only: the server decides what is allowed. */
  get claims() {
    try {
      const body = this.#tokens.access.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
      const bytes = Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0));
      return JSON.parse(new TextDecoder().decode(bytes));
    } catch {
      return {};
    }
  }

  get isMember() {
    return this.claims.app_metadata?.role === "member";
  }

  async signIn(email, password) {
    const answer = await this.#auth("token?grant_type=password", { email, password });
    if (!answer.ok) {
      throw new SignInError(
        answer.status === 429 ? "Too many attempts. Wait a minute, then try again."
          : answer.status < 500 ? "The e-mail or the password is wrong."
            : NO_ANSWER,
      );
    }
    this.#keep(await answer.json());
  }

  /** When the access token ends, in milliseconds of this browser's clock. */
  get ends() {
    return this.#tokens?.ends ?? (this.claims.exp ?? Infinity) * 1000;
  }

  get hasEnded() {
    return this.ends <= Date.now();
  }

  /**
   * A token that is still valid for a while, refreshed if it can be. `null`: nobody is signed in. Throws a SignInError when the
   * token has ended and nobody says whether there is another.
   */
  async token() {
    if (this.#canRefresh && this.ends - Date.now() < REFRESH_BEFORE_MS) {
      try {
        await this.#refreshOnce();
      } catch (error) {
        if (this.hasEnded) throw error;
      }
    }
    return this.#tokens?.access ?? null;
  }

  /** After the server refused `token`, which this browser's clock may have taken for valid: is there another now? */
  async hasOtherThan(token) {
    if (this.#canRefresh && this.#tokens.access === token) await this.#refreshOnce();
    if (this.#offered && this.#tokens?.access === token) this.#end();
    return this.signedIn && this.#tokens.access !== token;
  }

  get #canRefresh() {
    return Boolean(this.#tokens?.refresh) && this.canSignIn;
  }

  /** Calls at the same time share one refresh: Supabase takes each refresh token once. */
  #refreshOnce() {
    this.#refreshing ??= this.#refresh().finally(() => (this.#refreshing = null));
    return this.#refreshing;
  }

  /** A refusal ends the session; no answer is none. */
  async #refresh() {
    const before = this.#tokens;
    const answer = await this.#auth("token?grant_type=refresh_token", { refresh_token: before.refresh });
    const session = answer.ok ? await answer.json().catch(() => ({})) : null;
    // Signed out meanwhile, and perhaps somebody else in.
    if (this.#tokens !== before) return;
    if (session?.access_token) this.#keep(session);
    else if (session || answer.status >= 500 || answer.status === 429) throw new SignInError(NO_ANSWER);
    else this.#end();
  }

  /** The session was over already when a link brought another: that one is taken. Without one nobody is signed in. */
  #end() {
    const offered = this.#offered;
    this.forget();
    if (!offered) return;
    this.#keep(offered);
    // What is drawn and connected belongs to the other one.
    location.reload();
  }

  async signOut() {
    const access = this.#tokens?.access;
    this.forget();
    // Signed out here whatever Supabase answers; telling it ends the refresh token too.
    if (access && this.canSignIn) await this.#auth("logout?scope=local", {}, access).catch(() => {});
  }

  forget() {
    this.#tokens = null;
    this.#linkIgnored = this.#accepted = false;
    this.#offered = null;
    sessionStorage.removeItem(KEY);
  }

  async #auth(path, body, bearer) {
    const headers = { apikey: this.#config.supabaseAnonKey, "content-type": "application/json" };
    if (bearer) headers.authorization = `Bearer ${bearer}`;
    const url = `${this.#config.supabaseUrl.replace(/\/+$/, "")}/auth/v1/${path}`;
    try {
      return await fetch(url, { method: "POST", headers, body: JSON.stringify(body), signal: AbortSignal.timeout(20_000) });
    } catch {
      throw new SignInError("The sign-in service can't be reached. Check your connection.");
    }
  }
}
