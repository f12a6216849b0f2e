// What a user comes to do. Each flow is walked twice, with and without script; once says which time it is ("one" or "two").
import { code, signIn } from "./browser.mjs";

export const userFlows = (plan) => ({
  async "a user changes the password"(w) {
    await w.page.context().clearCookies();
    await signIn(w.page, plan.second, plan.password);
    for (const [old, fresh] of [[plan.password, "another one entirely"], ["another one entirely", plan.password]]) {
      await w.go("/account/password");
      await w.fill({ "Password now": old, "New password": fresh, "The same again": "something else" });
      await w.press("Change the password");
      await w.sees("Nothing was changed");
      await w.fill({ "Password now": old, "New password": fresh, "The same again": fresh });
      await w.press("Change the password");
      await w.sees("Your new password is valid from now on");
    }
  },

  async "a user makes an app password and takes it back"(w, once) {
    await w.go("/account/app-passwords");
    await w.fill({ "For which program or device?": `Tablet ${once}`, "Your own password": plan.password });
    await w.press("Make an app password");
    await w.sees("It is shown only now");
    await w.follow("I have it: back to all app passwords");
    await w.press(`Take back the app password of Tablet ${once}`);
    await w.sees("The app password is taken back");
  },

  async "a user ends the other sign-ins"(w, once, browser) {
    const other = await browser.context();
    const there = await other.newPage();
    await signIn(there, plan.second, plan.password);
    await w.page.context().clearCookies();
    await signIn(w.page, plan.second, plan.password);
    await w.go("/account/sign-ins");
    await w.press("End all others");
    await w.sees("All other sign-ins have ended");
    await there.goto("/account/");
    await there.getByLabel("Mail address").waitFor();
    await other.close();
  },

  async "a user begins and ends a second factor"(w) {
    await w.page.context().clearCookies();
    await signIn(w.page, plan.second, plan.password);
    await w.go("/account/second-factor");
    const secret = await w.page.locator("#key").textContent();
    await w.fill({ "The code that it shows": code(secret), "Your password": plan.password });
    await w.press("Begin");
    await w.follow("I have kept them: go on");
    await w.page.locator("#password-remove").fill(plan.password);
    await w.press("End the second factor");
    await w.sees("The second factor has ended");
  },

  async "a user makes a masked address, switches it off, and removes it"(w, once) {
    await w.go("/account/masks");
    await w.fill({ "What is it for?": `shop ${once}` });
    await w.press("Make an address");
    await w.sees("Your new address");
    const address = await w.page.locator("#made-address").textContent();
    await w.page.getByRole("link", { name: address }).click();
    await w.press("Switch it off");
    await w.sees("Mail to that address is refused from now on");
    await w.go(`/account/masks/remove?address=${encodeURIComponent(address)}`);
    await w.page.locator("main form button").last().click();
    await w.sees("That address is gone for ever");
  },

  async "a user forwards mail and takes it back"(w) {
    for (const [to, words] of [["carl@example.net", "goes on to carl@example.net"], ["", "nothing is forwarded"]]) {
      await w.go("/account/forwarding");
      await w.fill({ "Forward to": to || "not an address", "Keep a copy here": true, "Your password": plan.password });
      if (!to) {
        await w.press("Save");
        await w.sees("Nothing was changed");
        await w.fill({ "Forward to": "", "Your password": plan.password });
      }
      await w.press("Save");
      await w.sees("Your mail goes from now on as it says below", words);
    }
  },

  async "a user lets a sender in and forgets him"(w, once) {
    await w.go("/account/junk/senders");
    await w.fill({ "Address, or a whole domain": `friend-${once}.example` });
    await w.page.locator("input[name=way][value=allow]").check();
    await w.press("Save");
    await w.sees("Mail from there is let in from now on");
    await w.page.getByRole("row", { name: new RegExp(`friend-${once}.example`) }).getByRole("button").click();
    await w.sees("Nothing is said of that sender any more");
  },

  async "a user brings back what was deleted"(w) {
    await w.go("/account/deleted");
    await w.page.locator("main table a").first().click();
    await w.page.locator("main input[type=checkbox]").first().check();
    await w.press("Bring back what is ticked");
    await w.page.getByRole("heading", { level: 1 }).waitFor();
    await w.sees("1 message");
  },

  async "a user has messages wait, and takes one back"(w, once, browser) {
    await w.go("/account/sending");
    const hold = w.page.getByLabel("Each message waits in the Outbox, so that it can be taken back");
    await hold.selectOption({ index: 3 });
    await w.press("Save");
    await w.sees("Saved. It holds for the next message");
    await browser.ask("send", `Not yet ${once}`);
    await w.go("/account/outbox");
    await w.press(`Take back Not yet ${once}`);
    await w.sees("The message is a draft again");
    await w.go("/account/sending");
    await hold.selectOption({ index: 0 });
    await w.press("Save");
    await w.sees("Saved. It holds for the next message");
  },

  async "a user reads why a message did not arrive"(w) {
    await w.go("/account/messages");
    await w.fill({ Subject: "Your old address" });
    await w.press("Find");
    await w.follow("Your old address");
    await w.sees("kim@example.net", "What happened", "550");
  },

  async "a user fetches all mail as a file"(w) {
    await w.go("/account/export");
    const [file] = await Promise.all([w.page.waitForEvent("download"), w.press("Fetch the file")]);
    const { size } = await (await import("node:fs/promises")).stat(await file.path());
    if (size < 2000) throw new Error(`the file has ${size} octets`);
  },

  async "a user brings mail from another server"(w, once) {
    await w.go("/account/import");
    await w.fill({ "The other server": "post.example.net", "Your user name there": "carl@example.net", "Your password there": once === "one" ? plan.password : "wrong" });
    await w.press("Begin");
    for (let i = 0; ; i++) { // without script the page is loaded again by hand
      const text = await w.page.locator("main").innerText();
      if (text.includes(once === "one" ? "All is here" : "It has failed")) break;
      if (i === 40) throw new Error(text);
      await w.page.waitForTimeout(250);
      await w.page.reload();
    }
  },

  async "a user tests the settings of a mail program"(w) {
    await w.go("/clients/thunderbird");
    await w.page.locator("#test-address").fill(plan.user);
    await w.page.locator("#test-password").fill(plan.password);
    await w.press("Test my settings");
    await w.sees(`It works for ${plan.user}`);
  },

  async "a user makes a token and takes it back"(w, once) {
    await w.go("/account/tokens");
    await w.fill({ "For which program?": `Shop ${once}`, "Your own password": plan.password });
    await w.page.locator("main form input[type=checkbox]").first().check();
    await w.press("Make a token");
    await w.page.locator("#made-token").waitFor();
    await w.follow("I have it: back to all tokens");
    await w.page.getByRole("row", { name: new RegExp(`Shop ${once}`) }).getByRole("button").click();
    await w.sees("The token is taken back");
  },
});
