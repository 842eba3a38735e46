// Draws the plotly figure of a `.scene` in the page's colours; its still drawing stays where that is not possible.
(async (home) => {
  const text = (name) => home.querySelector(name).textContent;
  if (!document.createElement("canvas").getContext("webgl") || !window.DecompressionStream) return;
  const packed = Uint8Array.from(atob(text(".library")), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const library = document.createElement("script");
  library.textContent = await new Response(unpacked).text();
  document.head.append(library);

  const plot = home.querySelector(".interactive"), iteration = home.querySelector("input");
  const summaries = JSON.parse(text(".summaries")), views = JSON.parse(text(".views"));
  const draw = () => {
    const colours = getComputedStyle(document.documentElement), chosen = iteration ? +iteration.value : 0;
    const figure = JSON.parse(text(".figure").replace(/var\((--[\w-]+)\)/g, (_, name) => colours.getPropertyValue(name).trim()));
    for (const trace of figure.data) trace.visible = !chosen || !trace.meta || trace.meta === chosen;
    home.querySelector(".summary").textContent = summaries[chosen];
    return Plotly.react(plot, figure.data, figure.layout, {responsive: true, displaylogo: false});
  };
  plot.hidden = false;
  await draw();
  home.querySelector(".still").hidden = true;
  home.querySelector(".controls").hidden = false;
  if (iteration) iteration.addEventListener("input", draw);
  for (const button of home.querySelectorAll("button"))
    button.addEventListener("click", () => Plotly.relayout(plot, {"scene.camera": views[button.name]}));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})(document.currentScript.closest(".scene"));
