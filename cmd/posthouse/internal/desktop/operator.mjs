// What an operator comes to do; see user.mjs.

export const operatorFlows = () => ({
  async "an operator adds a domain and removes it"(w, once) {
    await w.go("/admin/domains/add");
    await w.fill({ Domain: "not a domain" });
    await w.press("Add the domain");
    await w.sees("Nothing was changed");
    await w.fill({ Domain: `${once}.example` });
    await w.press("Add the domain");
    await w.sees("The domain is here", "MX", "DKIM");
    await w.follow("Remove the domain");
    await w.press("Remove the domain");
    await w.sees("The domain is removed");
  },

  async "an operator adds, changes and removes an account"(w, once) {
    const address = `${once}@example.org`;
    await w.go("/admin/accounts/add");
    await w.fill({ Address: address, Name: "New Person" });
    await w.press("Add the account");
    await w.sees("It is shown this once");
    await w.follow("I have it");
    await w.fill({ Name: "Newer Person", "Programs need app passwords": true });
    await w.press("Save");
    await w.sees("Saved.");
    await w.follow("Sending and forwarding");
    await w.fill({ Why: "A test of the switch" });
    await w.press("Keep it from sending");
    await w.sees("may not send any more", "A test of the switch");
    await w.press("Let it send again");
    await w.sees("The account may send again");
    await w.follow("Person and addresses");
    await w.follow("Remove the account");
    await w.fill({ "To be sure, type its main address": "somebody@else.example" });
    await w.press("Remove the account and its mail");
    await w.sees("Nothing was changed");
    await w.fill({ "To be sure, type its main address": address });
    await w.press("Remove the account and its mail");
    await w.sees("The account is removed");
  },

  async "an operator makes an alias, and takes the change back"(w, once) {
    const address = `alias-${once}@example.org`;
    await w.go("/admin/aliases/add");
    await w.fill({ Address: address, "Its mail goes to": "anna@example.org" });
    await w.press("Add the alias");
    await w.sees("The alias is there");
    await w.go("/admin/audit");
    await w.page.getByRole("button", { name: new RegExp(`^Take back .*${address}`) }).first().click();
    await w.sees("It is as it was before");
    await w.go(`/admin/aliases?q=${address}`);
    await w.sees("There is no such alias");
  },

  async "an operator makes a list with members"(w, once) {
    await w.go("/admin/lists/add");
    await w.fill({ Address: `list-${once}@example.org`, Name: "Neighbours", Owners: "anna@example.org" });
    await w.press("Add the list");
    await w.sees("The list is there");
    await w.fill({ "New members": "anna@example.org\nben@example.org" });
    await w.press("Add them");
    await w.sees("The members are changed", "ben@example.org");
    await w.press("Pause ben@example.org");
    await w.sees("The members are changed");
    await w.follow("Remove the list");
    await w.press("Remove the list");
    await w.sees("The list is removed");
  },

  // Two look at one account; who was slower is told, and what he typed is still there.
  async "an operator does not overwrite another's change"(w, once) {
    const page = "/admin/account?who=ben%40example.org";
    await w.go(page);
    const other = await w.page.context().newPage();
    await other.goto(page);
    await other.getByLabel("Name", { exact: true }).fill(`Ben ${once} the first`);
    await other.getByRole("button", { name: "Save", exact: true }).first().click();
    await other.getByText("Saved.").waitFor();
    await w.fill({ Name: `Ben ${once} the second` });
    await w.press("Save");
    await w.page.locator(".wrong").waitFor();
    if ((await w.page.getByLabel("Name", { exact: true }).inputValue()) !== `Ben ${once} the second`) throw new Error("what was typed is gone");
    await other.reload();
    if ((await other.getByLabel("Name", { exact: true }).inputValue()) !== `Ben ${once} the first`) throw new Error("it was overwritten");
  },

  async "an operator holds a message, lets it go, and gives it up"(w) {
    await w.go("/admin/queue?domain=slow.example");
    await w.page.getByRole("checkbox").first().check();
    await w.press("Hold");
    await w.sees("They are held until somebody lets them go");
    await w.go("/admin/queue?domain=slow.example");
    await w.page.locator("main table tbody tr", { hasText: "held" }).getByRole("link").first().click();
    await w.press("Let go");
    await w.sees("They go on");
    await w.go("/admin/queue?domain=slow.example");
    await w.page.getByRole("checkbox").first().check();
    await w.press("Try now");
    await w.sees("They are tried now");
    await w.go("/admin/queue?domain=slow.example");
    await w.page.getByRole("checkbox").first().check();
    await w.press("Give up …");
    await w.press("Give up");
    await w.sees("They are given up");
  },

  async "an operator finds out why a message did not arrive"(w) {
    await w.go("/admin/stories");
    await w.page.locator("main input[type=search]").first().fill("kim@example.net");
    await w.press("Find");
    await w.page.locator("main table a").first().click();
    await w.sees("No such address here");
  },

  async "an operator makes a backup and has it read back"(w) {
    await w.go("/admin/backups");
    await w.press("Make one now");
    await w.sees("A backup is being made");
    await again(w, "/admin/backups", async () => (await w.page.getByRole("button", { name: "Make one now" }).count()) === 1);
    await w.page.locator("form[action='/admin/backups/check'] button").first().click();
    await w.sees("being read back");
    await again(w, "/admin/backups", async () => (await w.page.getByRole("button", { name: "Make one now" }).count()) === 1);
  },

  async "an operator has an address not written to, and takes it back"(w, once) {
    const address = `gone-${once}@example.net`;
    await w.go("/admin/suppression");
    await w.fill({ Address: address, Why: "it bounces" });
    await w.press("Add");
    await w.sees("Nobody here writes to it any more");
    await w.page.getByRole("row", { name: new RegExp(address) }).getByRole("button").click();
    await w.page.locator(".done").waitFor();
  },

  async "an operator follows the log and sets what is written"(w, once) {
    await w.go("/admin/log");
    await w.page.locator("#set-part").selectOption({ index: 1 });
    await w.page.locator("#set-level").selectOption("debug");
    await w.press("Set");
    await w.sees("It is written like that from now on");
    await w.page.locator("#set-level").selectOption("default");
    await w.press("Set");
    await w.sees("It is written like that from now on");
    if (once === "one") await w.page.locator("#log-lines", { hasText: "operator's command" }).waitFor(); // it comes by itself
  },

  async "an operator ends a connection"(w, once, browser) {
    await browser.ask("connect", "");
    await w.go("/admin/connections?service=imaps");
    await w.page.getByRole("button", { name: /End.*ben@example\.org/ }).first().click();
    await w.sees("The connection has ended");
  },

  async "an operator traces what a program and the house say"(w, once, browser) {
    await w.go("/admin/traces");
    await w.fill({ "Connections of the account": "nobody@example.org" });
    await w.press("Begin");
    await w.sees("Nothing was changed");
    await w.fill({ "Connections of the account": "ben@example.org" });
    await w.press("Begin");
    await browser.ask("connect", "");
    await again(w, w.page.url(), async () => /LOGIN|AUTHENTICATE|SELECT/.test(await w.page.locator("main").innerText()));
    await w.go("/admin/traces");
    await w.page.getByRole("button", { name: /^End/ }).first().click();
    await w.sees("It has ended");
  },

  async "an operator changes the settings file and takes it back"(w) {
    await w.go("/admin/settings/file");
    const area = w.page.locator("main textarea").first();
    const text = await area.inputValue();
    await area.fill(`${text}\n[nonsense]\nx = 1\n`);
    await w.page.locator("main form:has(textarea) button").first().click();
    await w.page.locator(".wrong, .fault").first().waitFor();
    await area.fill(`${text}\n# a remark of the operator\n`);
    await w.page.locator("main form:has(textarea) button").first().click();
    await w.sees("The file is saved");
    await w.go("/admin/settings");
    await w.press("Read the file and the certificates again");
    await w.page.getByRole("heading", { level: 1 }).waitFor();
    await w.go("/admin/settings?q=retry");
  },
});

// again loads a page until something holds.
async function again(w, path, holds) {
  for (let i = 0; !(await holds()); i++) {
    if (i === 60) throw new Error(await w.page.locator("main").innerText());
    await w.page.waitForTimeout(250);
    await w.page.goto(path);
  }
}
