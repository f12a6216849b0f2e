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
});
