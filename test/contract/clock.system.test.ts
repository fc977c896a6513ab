import { systemClock } from '../../shared/clock/system.ts';
import { clockContract } from './clock.contract.ts';

clockContract('system', () => ({ clock: systemClock(), through: (promise) => promise }));
