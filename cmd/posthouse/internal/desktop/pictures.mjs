// The pictures of the documents.

// pictures draws them into the folder of the plan: {Name, Who, Path, Follow, Height} each.
export async function pictures(browser, states) {
  for (const { Name, Who, Path, Follow, Height } of browser.plan.drawn) {
    const context = await browser.context({ at: Who === "operator" ? "loopback" : "outside", storageState: states[Who], viewport: { width: 1000, height: Height } });
    const page = await context.newPage();
    const answer = await page.goto(Path);
    if (answer.status() !== 200) browser.fault(`${Path}: ${answer.status()}`);
    if (Follow) {
      await page.getByRole("link", { name: Follow, exact: true }).first().click();
      await page.waitForLoadState();
    }
    await page.screenshot({ path: `${browser.plan.pictures}/${Name}.png`, animations: "disabled" });
    await context.close();
  }
}
