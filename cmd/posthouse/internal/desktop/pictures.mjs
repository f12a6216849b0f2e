// The pictures of the documents.

// pictures draws them into the folder of the plan.
export async function pictures(browser, states) {
  for (const [name, who, path] of browser.plan.drawn) {
    const context = await browser.context({ at: who === "operator" ? "loopback" : "outside", storageState: states[who], viewport: { width: 1000, height: 720 } });
    const page = await context.newPage();
    const answer = await page.goto(path);
    if (answer.status() !== 200) browser.fault(`${path}: ${answer.status()}`);
    await page.screenshot({ path: `${browser.plan.pictures}/${name}.png`, animations: "disabled" });
    await context.close();
  }
}
