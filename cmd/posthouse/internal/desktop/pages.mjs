// The program that pages_test.go runs: its plan is JSON, it prints a line of JSON for each step.
import { Browser } from "./browser.mjs";
import { crawl, inspect } from "./crawl.mjs";
import { flows, signIns } from "./flows.mjs";
import { pictures } from "./pictures.mjs";

const plan = JSON.parse(process.argv[2]);
const browser = new Browser(plan);
const states = await signIns(browser);
if (plan.pictures) await browser.step("pictures", () => pictures(browser, states)); // before anybody changes what they show
await flows(browser, states);

for (const who of ["stranger", "user", "operator"]) {
  for (const javaScriptEnabled of [true, false]) {
    await browser.step(`pages of a ${who}${javaScriptEnabled ? "" : " without script"}`, async () => {
      const context = await browser.context({ at: who === "operator" ? "loopback" : "outside", storageState: states[who], javaScriptEnabled });
      const all = await crawl(browser, context, {
        look: javaScriptEnabled ? inspect(browser) : async () => {},
        allowed: who === "stranger" ? 401 : 200, // a page that asks for the sign-in first
        also: ["/nowhere"], skip: who === "operator" ? ["/account/", "/clients/"] : [], // the other crawls have them
      });
      await context.close();
      console.log(JSON.stringify({ note: `${who}${javaScriptEnabled ? "" : ", no script"}: ${all.length} pages: ${all.join(" ")}` }));
      if (all.length < plan.least[who]) browser.fault(`only ${all.length} pages were found`);
    });
  }
}
await browser.close();
process.exit(0);
