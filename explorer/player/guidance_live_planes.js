// The two directions of a negative prompt, for a comparison's table of planes. Each is a difference of predicted noises.
PLANES.toward = { symbol: "<i>ε</i><sub>cond</sub> − <i>ε</i><sub>uncond</sub>", title: "direction", colour: "cond", range: 0.25 };
PLANES.away = { symbol: "<i>ε</i><sub>uncond</sub> − <i>ε</i><sub>neg</sub>", title: "direction", colour: "z", range: 0.25 };

// The last curve is an angle: in degrees with one decimal, once the comparison has written it as it does its sizes.
element.querySelector(".compare").addEventListener("drawn", ({ detail }) => {
  const angle = detail.series.at(-1).value;
  if (angle !== null) lines.at(-1).number.textContent = `${fixed(angle, 1)}°`;
});
