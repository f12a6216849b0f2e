// The flows: what a person comes to do, from the sign-in to the words that it is done.
import { operatorFlows } from "./operator.mjs";
import { userFlows } from "./user.mjs";
import { Walker, code, signIn } from "./browser.mjs";

// signIns are the ways in; they return who is signed in, for all that comes after.
export async function signIns(browser) {
  const { plan } = browser;
  const states = { stranger: undefined };
  for (const javaScriptEnabled of [true, false]) {
    const how = javaScriptEnabled ? "" : " without script";
    await browser.step(`sign in and out${how}`, async () => {
      const context = await browser.context({ javaScriptEnabled });
      const page = await context.newPage();
      await signIn(page, plan.user, "wrong " + plan.password);
      await page.locator("[aria-invalid=true]").first().waitFor();
      await signIn(page, plan.user, plan.password);
      await page.getByRole("heading", { level: 1 }).waitFor();
      await page.getByRole("button", { name: "Sign out" }).click();
      await page.getByLabel("Mail address").waitFor();
      await context.close();
    });
  }
  await browser.step("sign in with keys alone", () => byKeys(browser));
  await browser.step("a user stays signed in", async () => {
    const context = await browser.context();
    const page = await context.newPage();
    await signIn(page, plan.user, plan.password);
    await page.getByRole("navigation", { name: "Rooms" }).waitFor();
    states.user = await context.storageState();
    await context.close();
  }, true);
  await browser.step("a second factor, and the way in with it", async () => { states.operator = await secondFactor(browser); }, true);
  return states;
}

// flows are all the others.
export async function flows(browser, states) {
  const { plan } = browser;
  await browser.step("a user makes a passkey and comes in with it", () => passkey(browser));
  for (const [who, table] of [["user", userFlows(plan)], ["operator", operatorFlows(plan)]]) {
    for (const [name, run] of Object.entries(table)) {
      for (const javaScriptEnabled of [true, false]) {
        await browser.step(name + (javaScriptEnabled ? "" : " without script"), async () => {
          const context = await browser.context({ at: who === "operator" ? "loopback" : "outside", storageState: states[who], javaScriptEnabled });
          await run(new Walker(await context.newPage()), javaScriptEnabled ? "one" : "two", browser);
          await context.close();
        });
      }
    }
  }
}

// byKeys: the field has the focus already; Tab and Enter do the rest.
async function byKeys(browser) {
  const context = await browser.context();
  const page = await context.newPage();
  await page.goto("/");
  await page.keyboard.type(browser.plan.user);
  await page.keyboard.press("Tab");
  await page.keyboard.type(browser.plan.password);
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Sign out" }).waitFor();
  for (let i = 0; i < 20; i++) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => document.activeElement.textContent.trim() === "Security")) break;
  }
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "Password" }).waitFor();
  await context.close();
}

// secondFactor sets one up for the operator, and comes in with a code and with a recovery code.
async function secondFactor(browser) {
  const { plan } = browser;
  const context = await browser.context({ at: "loopback" });
  const page = await context.newPage();
  await signIn(page, plan.operator, plan.password);
  await page.goto("/account/second-factor");
  const secret = await page.locator("#key").textContent();
  await page.getByLabel("The code that it shows").fill(code(secret, -1));
  await page.getByLabel("Your password").fill(plan.password);
  await page.getByRole("button", { name: "Begin" }).click();
  const codes = (await page.locator("#list").textContent()).trim().split("\n");
  for (const proof of [code(secret), codes[0].trim()]) {
    await page.getByRole("button", { name: "Sign out" }).click();
    await signIn(page, plan.operator, plan.password);
    await page.getByLabel("Code").fill("000000");
    await page.getByRole("button", { name: "Go on" }).click();
    await page.locator("[aria-invalid=true]").waitFor();
    await page.getByLabel("Code").fill(proof);
    await page.getByRole("button", { name: "Go on" }).click();
    await page.getByRole("button", { name: "Sign out" }).waitFor();
  }
  const state = await context.storageState();
  await context.close();
  return state;
}

// passkey: chromium has an authenticator that says yes by itself. A passkey is made, opens the pages alone, and is removed.
async function passkey(browser) {
  const { plan } = browser;
  const context = await browser.context();
  const page = await context.newPage();
  const devtools = await context.newCDPSession(page);
  await devtools.send("WebAuthn.enable");
  const { authenticatorId } = await devtools.send("WebAuthn.addVirtualAuthenticator", {
    options: { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
  });
  const w = new Walker(page);
  await signIn(page, plan.second, plan.password);
  await w.go("/account/passkeys");
  await w.fill({ "On which device?": "my laptop", "Your password": plan.password });
  await w.press("Add a passkey");
  await page.getByRole("row", { name: /my laptop/ }).waitFor();
  const { credentials } = await devtools.send("WebAuthn.getCredentials", { authenticatorId });
  if (credentials.length !== 1) throw new Error(`${credentials.length} passkeys were made`);
  // Out of the field for the address, where the browser offers it, and by the button.
  await w.press("Sign out");
  await page.goto("/account/passkeys");
  await w.sees("signed in with it");
  await page.addInitScript(() => { PublicKeyCredential.isConditionalMediationAvailable = async () => false; });
  await w.press("Sign out");
  await page.goto("/account/passkeys");
  await w.press("Use a passkey");
  await w.sees("signed in with it");
  await page.getByRole("link", { name: "Remove the passkey my laptop" }).click();
  await page.getByRole("button", { name: "Remove this passkey" }).click();
  await w.sees("Mail address"); // what was opened with it has ended
  await signIn(page, plan.second, plan.password);
  await w.go("/account/passkeys");
  await w.sees("There are none yet");
  await context.close();
}
