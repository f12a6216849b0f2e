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
});
